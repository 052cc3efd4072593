"""A Pixel 6 that is made up: its files, and programs for its processor under qemu.

What runs on it computes what a phone computes. Its times say nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from adbd import Phone

QEMU = shutil.which("qemu-aarch64-static")

PROPERTIES = {
    "ro.product.name": "oriole",
    "ro.product.device": "oriole",
    "ro.product.model": "Pixel 6",
    "ro.product.manufacturer": "Google",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.build.id": "AP2A.240805.005",
    "ro.soc.model": "GS101",
    "ro.serialno": "1A2B3C4D",
}

# Part number of the processor, its largest frequency in kHz, its capacity: Cortex-A55, A76 and X1.
CORES = ((0xD05, 1803000, 124),) * 4 + ((0xD0B, 2253000, 427),) * 2 + ((0xD44, 2802000, 1024),) * 2

FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)

DUMPSYS = """\
case "$1" in
battery) cat <<'END'
Current Battery Service state:
  AC powered: false
  USB powered: true
  Max charging current: 500000
  status: 2
  health: 2
  present: true
  level: 84
  scale: 100
  voltage: 4063
  temperature: 326
  technology: Li-ion
END
;;
power) echo "  mWakefulness=Asleep" ;;
thermalservice) cat <<'END'
IsStatusOverride: false
Thermal Status: 0
Cached temperatures:
	Temperature{mValue=99.0, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
Current temperatures from HAL:
	Temperature{mValue=46.0, mType=0, mName=BIG, mStatus=0}
	Temperature{mValue=31.5, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
Current cooling devices from HAL:
END
;;
*) echo "Can't find service: $1" >&2 ;;
esac
"""


def make_phone(folder: Path) -> Phone:
    """A phone whose files lie in a folder, which is made; programs for ARM run where qemu is."""
    root = folder / "phone"
    (root / "data/local/tmp").mkdir(parents=True)
    _make_programs(root / "system/bin")
    _make_system(root)
    environment = {"PHONE_ROOT": str(root)}
    if QEMU is not None:
        environment |= {"PHONE_QEMU": QEMU, "LD_PRELOAD": str(_build_shim(folder))}
    return Phone(root, dict(PROPERTIES), environment=environment)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _make_programs(folder: Path) -> None:
    known = "".join(f"{name}) echo '{value}' ;;\n" for name, value in PROPERTIES.items())
    every = "".join(f"[{name}]: [{value}]\n" for name, value in PROPERTIES.items())
    programs = {
        "getprop": f"case \"$1\" in\n{known}'') cat <<'END'\n{every}END\n;;\n*) echo ;;\nesac\n",
        "dumpsys": DUMPSYS,
        "uname": 'case "$1" in -m) echo aarch64 ;; *) echo Linux ;; esac\n',
    }
    for name, script in programs.items():
        _write(folder / name, f"#!/bin/sh\n{script}")
        (folder / name).chmod(0o755)


def _make_system(root: Path) -> None:
    """What /proc and /sys show of the processor and its temperatures."""
    lines = []
    cpu = root / "sys/devices/system/cpu"
    for number, (part, khz, capacity) in enumerate(CORES):
        lines.append(
            f"processor\t: {number}\nBogoMIPS\t: 49.15\nFeatures\t: {FEATURES}\n"
            "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\n"
            f"CPU part\t: 0x{part:03x}\nCPU revision\t: 0\n\n"
        )
        own = cpu / f"cpu{number}"
        alike = [i for i, (other, _, _) in enumerate(CORES) if other == part]
        for name, text in {
            "cpufreq/cpuinfo_max_freq": khz,
            "cpufreq/cpuinfo_min_freq": 300000,
            "cpufreq/scaling_cur_freq": khz,
            "cpufreq/scaling_governor": "sched_pixel",
            "cpufreq/related_cpus": " ".join(map(str, alike)),
            "cpu_capacity": capacity,
            "regs/identification/midr_el1": f"0x00000000411f{part:03x}0",
            "topology/physical_package_id": 0,
            "topology/core_id": number,
        }.items():
            _write(own / name, f"{text}\n")
    _write(root / "proc/cpuinfo", "".join(lines))
    _write(root / "proc/meminfo", "MemTotal:        7812345 kB\nMemAvailable:    4012345 kB\n")
    for name in ("present", "possible", "online"):
        _write(cpu / name, f"0-{len(CORES) - 1}\n")
    for number, kind in enumerate(("BIG", "MID", "LITTLE")):
        zone = root / f"sys/class/thermal/thermal_zone{number}"
        _write(zone / "type", f"{kind}\n")
        _write(zone / "temp", "34000\n")


def _build_shim(folder: Path) -> Path:
    made = folder / "qemu_exec.so"
    source = Path(__file__).with_name("qemu_exec.c")
    words = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", str(source), "-o", str(made), "-ldl"]
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *words], check=True)
    return made
