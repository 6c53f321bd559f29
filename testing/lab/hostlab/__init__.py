"""The lab: a whole hypervisor host inside an emulator (see testing/lab/README.md)."""
