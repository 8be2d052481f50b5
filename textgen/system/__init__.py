"""The process and its machine: files, device, threads, memory, signals, progress."""
