"""VMs that can't be carried in place, one for each reason that libvirt lets a host without special hardware have.

Nothing runs in them but the firmware, that finds no disk.
"""

import dataclasses

MEMORY_MIB = 64
SHARED = "<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>"
HUGE = "<memoryBacking><hugepages/><access mode='shared'/></memoryBacking>"
DISK = "/var/lib/guests/block-job.qcow2"


@dataclasses.dataclass(frozen=True)
class Refused:
    name: str
    reasons: dict          # Code of each finding that is an error: words of its message.
    devices: str = ""
    backing: str = SHARED
    aux_ram_share: bool = True
    before: str = ""       # What makes it startable, in the host,
    after: str = ""        # and what is done to it when it runs.

    def xml(self):
        arguments = ("<qemu:commandline><qemu:arg value='-machine'/><qemu:arg value='aux-ram-share=on'/>"
                     "</qemu:commandline>") if self.aux_ram_share else ""
        return f"""<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{self.name}</name>
  <memory unit='MiB'>{MEMORY_MIB}</memory>
  {self.backing}
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <features><acpi/><apic/></features>
  <cpu mode='host-model'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    {self.devices}
  </devices>
  {arguments}
</domain>
"""

    def start(self, host):
        if self.before:
            host.sh(self.before)
        path = f"/var/lib/guests/{self.name}.xml"
        host.put_file(path, self.xml())
        host.sh(f"virsh -q create {path}", 240)
        if self.after:
            host.sh(self.after)


REFUSED = (
    Refused("private-ram", {"RAM_NOT_SHARED": "memory", "QEMU_BLOCKED": "pc.ram"}, backing=""),
    Refused("private-firmware", {"AUX_RAM_SHARE": "aux-ram-share=on", "QEMU_BLOCKED": "pc.bios"},
            aux_ram_share=False),
    Refused("memfd", {"RAM_NOT_PRESERVABLE": "memfd"},
            backing="<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"),
    Refused("huge-pages", {"UNSUPPORTED_DEVICE": "hugepages", "RAM_NOT_PRESERVABLE": "another file system"}, backing=HUGE,
            before=f"echo {MEMORY_MIB // 2 + 4} > /proc/sys/vm/nr_hugepages; mkdir -p /dev/hugepages; "
                   "mount -t hugetlbfs hugetlbfs /dev/hugepages; systemctl restart libvirtd"),
    Refused("plan-9", {"UNSUPPORTED_DEVICE": "9p"},
            devices="<filesystem type='mount'><source dir='/srv'/><target dir='srv'/></filesystem>"),
    Refused("shared-device", {"UNSUPPORTED_DEVICE": "shmem", "QEMU_BLOCKED": "ivshmem"},
            devices="<shmem name='frames'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"),
    Refused("block-job", {"BLOCK_JOB": "active block jobs"},
            devices=f"<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none'/>"
                    f"<source file='{DISK}'/><target dev='vda' bus='virtio'/></disk>",
            before=f"qemu-img create -q -f qcow2 {DISK} 64M",
            after=f"virsh -q blockcopy block-job vda {DISK}.copy --transient-job"),
)
