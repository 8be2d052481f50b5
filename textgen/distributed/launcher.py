"""`textgen train --processes N`: starts processes on this machine with torch's launcher, and ends with them.

    textgen train --processes 2 ...   this process, which only waits
        ├─ textgen train ...          rank 0
        └─ textgen train ...          rank 1

For several machines, or to start again what was lost, use torchrun itself.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence

from textgen.errors import ConfigError, LostProcessError

# In the environment of the processes: this launcher reports those that are lost.
LAUNCHED = "TEXTGEN_LAUNCHED"


def is_launched() -> bool:
    """Whether a launcher of ours has started this process."""
    return LAUNCHED in os.environ


def run_processes(arguments: Sequence[str], processes: int, *, run_id: str) -> None:
    """Run textgen with these arguments in so many processes, until all have ended.

    run_id: the launch_id of the processes begins with it.

    A signal ends this process too, when the others have ended. Raises LostProcessError when one was killed,
    and SystemExit with the exit code of one that has reported why it ended.
    """
    if "RANK" in os.environ:
        raise ConfigError("--processes: torchrun has started this process already; leave it out")
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # It logs each process that it ends, and how the first one failed, in many lines.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torch.distributed.launcher")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ[LAUNCHED] = "1"
    try:
        with tempfile.TemporaryDirectory(prefix="textgen-") as folder:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=processes,
                run_id=run_id,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",  # of this machine alone, at any free port
                max_restarts=0,
                # Without a directory it makes one, which it does not remove.
                logs_specs=DefaultLogsSpecs(log_dir=folder),
            )
            elastic_launch(config, sys.executable)("-m", "textgen", *arguments)
    except SignalException as error:
        # Rank 0 has said what was saved. At once: further signals may have left a thread of torch's store,
        # which would abort the process while Python ends.
        os._exit(128 + error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0 and failure.exitcode != LostProcessError.exit_code:
            sys.exit(failure.exitcode)
        how = f"was killed by signal {-failure.exitcode}" if failure.exitcode < 0 else "lost another one"
        advice = "; the system does that when memory runs out" if -failure.exitcode == signal.SIGKILL else ""
        raise LostProcessError(f"the process of rank {rank} {how}{advice}") from error
    finally:
        del os.environ[LAUNCHED]
