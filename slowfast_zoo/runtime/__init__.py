"""What this process runs on: devices, precision, processes, packages, this machine."""
