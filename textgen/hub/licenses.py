"""The identifiers of licences that the hub knows, for a model card's front matter."""

from __future__ import annotations

from textgen.errors import ConfigError
from textgen.settings.option import unknown_name

# Without those of a company's own models, such as llama3; whoever needs one of these, or a later one, says
# `other`, and adds the name of the licence to the card on the hub.
LICENSES: frozenset[str] = frozenset(
    """
    mit apache-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear isc zlib ncsa postgresql unlicense wtfpl
    bsl-1.0 afl-3.0 artistic-2.0 ecl-2.0 ms-pl osl-3.0 lppl-1.3c ofl-1.1
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 lgpl-lr agpl-3.0 gfdl mpl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2
    cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nd-4.0
    cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
    cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
    odc-by odbl pddl c-uda cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 etalab-2.0
    openrail openrail++ bigscience-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    creativeml-openrail-m unknown other
    """.split()
)


def check_license(license: str | None) -> str:
    """The identifier of a licence, in lower case. Raises ConfigError for one that the hub does not know."""
    if license is None:
        raise ConfigError(
            "--license: say under which licence others may use the model, such as mit, cc-by-4.0 or other; "
            "think of the text that it was trained on"
        )
    if license.lower() not in LICENSES:
        hint = "the hub knows mit, apache-2.0, cc-by-4.0 and others; for one that it does not know, say other"
        raise ConfigError(f"--license: {unknown_name('licence', license, sorted(LICENSES), hint)}")
    return license.lower()
