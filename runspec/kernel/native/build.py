"""Builds the C layer: the static interpreter `init`, the extension `_native`, `runspec/abi.py`; and bench's `floor`.

`python runspec/kernel/native/build.py` builds all of them in place; setup.py calls the same functions. It is
run by its path, since the package around it needs the abi.py that is made here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile

from cffi import FFI
from setuptools.command.build_py import build_py

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
CC = os.environ.get("CC", "cc").split()
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror"]
# No C library: its start-up would cost more than the ops. No loop may become a call of memset in memset.
STATIC = ["-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector",
          "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns",
          "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-s"]
HOSTED = ["-O1", "-g", "-DRUNSPEC_HOSTED", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
INIT_SOURCES = ("init.c", "ops_path.c", "ops_mount.c", "ops_net.c", "ops_process.c", "ops_attributes.c",
                "ops_hook.c", "ops_terminal.c", "ops_seccomp.c")

DECLARATIONS = """
int runspec_spawn(int init, int table, const int *slots, int count, uint64_t flags, int cgroup,
                  const int *stdio, int wait, int *pid, int *pidfd, int *control);
long runspec_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
long runspec_sealed(const char *name, const char *data, size_t length, int executable);
long runspec_receive(int control, char *room, size_t size, int *fd, int timeout);
long runspec_go(int control);
long runspec_read_files(const char *paths, uint32_t count, char *room, uint32_t size, int32_t *lengths);
long runspec_sched_set(int task, const char *attr);
long runspec_sched_get(int task, char *attr, uint32_t size);
long runspec_ioprio_set(int task, int value);
long runspec_ioprio_get(int task);
long runspec_landlock_abi(void);
long runspec_seccomp_knows(uint32_t flags);
long runspec_userfaultfd(void);
long runspec_answer_fault(int fault, uint64_t address);
long runspec_pidfd_getfd(int process, int number);
long runspec_bpf_load(const char *instructions, uint32_t count, const char *name, uint32_t kind);
long runspec_bpf_attach(int cgroup, int program, uint32_t flags, int replaced);
long runspec_bpf_detach(int cgroup, int program);
long runspec_bpf_query(int cgroup, uint32_t *ids, uint32_t room);
long runspec_bpf_open(uint32_t id);
long runspec_bpf_info(int program, char *tag, char *name);
"""

ffi = FFI()
ffi.cdef(DECLARATIONS)
ffi.set_source("runspec.kernel.native._native", "#include <stddef.h>\n#include <stdint.h>\n" + DECLARATIONS,
               sources=["runspec/kernel/native/spawn.c", "runspec/kernel/native/calls.c"],
               depends=[f"runspec/kernel/native/{name}" for name in ("ops.h", "sys.h", "compat.h")],
               define_macros=[("_GNU_SOURCE", None)], extra_compile_args=["-O2", "-Wall", "-Wextra"],
               py_limited_api=True)

# An extension of its own, since it needs libseccomp, and most starts of runspec need neither.
SECCOMP = """
#define SCMP_FLTATR_CTL_OPTIMIZE ...
#define SCMP_CMP_NE ...
#define SCMP_CMP_LT ...
#define SCMP_CMP_LE ...
#define SCMP_CMP_EQ ...
#define SCMP_CMP_GE ...
#define SCMP_CMP_GT ...
#define SCMP_CMP_MASKED_EQ ...
#define __NR_SCMP_ERROR ...
typedef uint64_t scmp_datum_t;
struct scmp_version { unsigned int major, minor, micro; };
struct scmp_arg_cmp { unsigned int arg; int op; scmp_datum_t datum_a, datum_b; };
const struct scmp_version *seccomp_version(void);
uint32_t seccomp_arch_native(void);
uint32_t seccomp_arch_resolve_name(const char *name);
int seccomp_syscall_resolve_name(const char *name);
void *seccomp_init(uint32_t action);
void seccomp_release(void *filter);
int seccomp_arch_add(void *filter, uint32_t arch);
int seccomp_attr_set(void *filter, int attribute, uint32_t value);
int seccomp_rule_add_array(void *filter, uint32_t action, int call, unsigned int count,
                           const struct scmp_arg_cmp *args);
int seccomp_export_bpf(void *filter, int fd);
"""

seccomp_ffi = FFI()
seccomp_ffi.cdef(SECCOMP)
seccomp_ffi.set_source("runspec.kernel.native._seccomp", "#include <seccomp.h>", libraries=["seccomp"],
                       extra_compile_args=["-O2"], py_limited_api=True)

HEADERS = """
#include <asm/resource.h>
#include <signal.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/ioprio.h>
#include <linux/landlock.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/if_ether.h>
#include <linux/mempolicy.h>
#include <linux/mount.h>
#include <linux/neighbour.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/openat2.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/prctl.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/tc_act/tc_mirred.h>
#include <sys/personality.h>
#include <linux/veth.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <stddef.h>
#include "compat.h"
#include "ops.h"
"""

# Whole families where they are small; names where a family is not (abi.py is on every hot path).
NAMES = re.compile(r"""
    (?:CLONE|MOUNT_ATTR|MOVE_MOUNT|OPEN_TREE|AT|FSCONFIG|FSMOUNT|FSOPEN|RESOLVE|MS|MNT|UMOUNT)_[A-Z0-9_]+
  | (?:RLIMIT|CAP)_[A-Z0-9_]+
  | (?:NLM_F|RT_SCOPE|RT_TABLE|RTPROT|RTN|IFA|RTA|RTNH_F|IFLA_INFO|IFLA_BR|VETH_INFO|BPF_DEVCG)_[A-Z0-9_]+
  | (?:MFD|F_SEAL|NUD|NDA|NTF)_[A-Z0-9_]+
  | IFF_[A-Z]+ | O_[A-Z]+ | S_I[A-Z]+ | SIG[A-Z0-9]+ | AF_(?:UNSPEC|UNIX|INET|INET6|BRIDGE|NETLINK)
  | NLMSG_(?:NOOP|ERROR|DONE|OVERRUN) | NLMSGERR_ATTR_[A-Z]+
  | RTM_(?:NEW|DEL|GET|SET)(?:LINK|LINKPROP|ADDR|ROUTE|NEIGH|RULE|QDISC|TCLASS|TFILTER|NSID|NEXTHOP) | TCA_STAB
  | RTM_F_[A-Z_]+ | NHA_OIF | RTNLGRP_(?:LINK|IPV4_IFADDR|IPV6_IFADDR|IPV4_ROUTE|IPV6_ROUTE|NEIGH)
  | IFLA_(?:ADDRESS|BROADCAST|IFNAME|MTU|LINK|QDISC|STATS|STATS64|MASTER|OPERSTATE|LINKINFO|LINKMODE
     |NET_NS_PID|NET_NS_FD
     |IFALIAS|AF_SPEC|GROUP|TXQLEN|NUM_TX_QUEUES|NUM_RX_QUEUES|PROMISCUITY|EXT_MASK|TARGET_NETNSID|LINK_NETNSID
     |NEW_NETNSID|NEW_IFINDEX|ALT_IFNAME|PROP_LIST|PERM_ADDRESS|PARENT_DEV_NAME|PARENT_DEV_BUS_NAME|PHYS_PORT_NAME|PROTINFO|CARRIER|INET6_ADDR_GEN_MODE|INET6_TOKEN|INET6_FLAGS
     |BRPORT_(?:STATE|COST|MODE|GUARD|ISOLATED|NO|LEARNING|UNICAST_FLOOD|MCAST_FLOOD|NEIGH_SUPPRESS)
     |BRIDGE_VLAN_INFO|VLAN_(?:ID|PROTOCOL|EGRESS_QOS|QOS_MAPPING)|MACVLAN_MODE|IPVLAN_(?:MODE|FLAGS))
  | BRIDGE_VLAN_INFO_(?:PVID|UNTAGGED)
  | ETH_P_8021(?:Q|AD) | MACVLAN_MODE_[A-Z]+ | IPVLAN_MODE_[A-Z0-9]+ | IN6_ADDR_GEN_MODE_[A-Z]+ | RTEXT_FILTER_[A-Z_]+
  | PR_(?:SET|GET)_(?:DUMPABLE|NO_NEW_PRIVS|PDEATHSIG|SECCOMP|NAME|KEEPCAPS|SECUREBITS|CHILD_SUBREAPER|THP_DISABLE)
  | IPCTNL_MSG_CT_(?:NEW|GET|DELETE) | CTA_(?:TUPLE_(?:ORIG|REPLY|IP|PROTO)|IP_V[46]_(?:SRC|DST)|PROTO_(?:NUM|DST_PORT))
  | NFNL_SUBSYS_CTNETLINK | NLA_F_NESTED
  | PR_CAP_AMBIENT(?:_[A-Z_]+)? | PR_CAPBSET_[A-Z]+ | NETLINK_(?:ROUTE|NETFILTER|EXT_ACK|GET_STRICT_CHK)
  | BPF_(?:LD|LDX|ST|STX|ALU|ALU64|JMP|JMP32|RET|W|H|B|DW|IMM|ABS|IND|MEM|K|X
     |ADD|SUB|OR|AND|LSH|RSH|XOR|MOV|JA|JEQ|JNE|JGT|JGE|JLT|JLE|JSET|EXIT|CALL|END|TO_BE|REG_[0-9]+
     |PROG_TYPE_(?:CGROUP_DEVICE|SCHED_CLS)|F_RECOMPUTE_CSUM|CGROUP_DEVICE|F_ALLOW_OVERRIDE|F_ALLOW_MULTI|F_REPLACE)
  | BPF_FUNC_(?:skb_(?:load_bytes|store_bytes|vlan_push|vlan_pop)|l3_csum_replace|redirect)
  | ETH_P_(?:ALL|IP|IPV6|ARP|8021Q|8021AD)
  | TC_H_(?:ROOT|INGRESS|CLSACT|MIN_INGRESS|MIN_EGRESS) | TC_ACT_(?:UNSPEC|OK|SHOT|STOLEN|REDIRECT)
  | TC_(?:U32_TERMINAL|LINKLAYER_ETHERNET) | TCA_(?:KIND|OPTIONS)
  | TCA_BPF_(?:FD|NAME|FLAGS|FLAG_ACT_DIRECT|ID|TAG)
  | TCA_U32_(?:SEL|ACT) | TCA_ACT_(?:KIND|OPTIONS) | TCA_MIRRED_PARMS | TCA_EGRESS_REDIR
  | TCA_TBF_(?:PARMS|RATE64|BURST) | TCA_HTB_(?:INIT|PARMS|RATE64|CEIL64)
  | TCA_FQ_CODEL_(?:TARGET|LIMIT|INTERVAL)
  | (?:PROC|SYSFS|TMPFS|DEVPTS|CGROUP|CGROUP2|OVERLAYFS|BPF_FS|NSFS|BTRFS|EXT4|XFS)_(?:SUPER_)?MAGIC
  | SCHED_(?:NORMAL|FIFO|RR|BATCH|IDLE|DEADLINE|FLAG_[A-Z_]+) | IOPRIO_CLASS_(?:RT|BE|IDLE|SHIFT)
  | MPOL_(?:DEFAULT|PREFERRED|BIND|INTERLEAVE|LOCAL|PREFERRED_MANY|WEIGHTED_INTERLEAVE)
  | MPOL_F_(?:STATIC_NODES|RELATIVE_NODES|NUMA_BALANCING) | PER_LINUX(?:32)? | LANDLOCK_(?:ACCESS|SCOPE)_[A-Z_]+
  | SECCOMP_(?:RET_(?:KILL_PROCESS|KILL_THREAD|TRAP|ERRNO|TRACE|ALLOW|LOG|USER_NOTIF)|FILTER_FLAG_[A-Z_]+)
  | REPORT_[A-Z]+ | TABLE_[A-Z_]+
""", re.VERBOSE)
# Upper bounds that move from kernel to kernel, sizes, and words of sigaction(2) that are no signals.
UNWANTED = re.compile(r"\w+_(?:MAX|LAST_CAP)|CAP_(?:TO_\w+|VALID\w*)|SIG(?:STKSZ|RTM..|UNUSED|LOST|EV\w*)")
KEPT = {"TABLE_MAX_OPS", "TABLE_MAX_BYTES"}

# Of struct __sk_buff, what a classifier program sees of a packet: SKB_LEN is the place of `len`, and so on.
PACKET_FIELDS = ("len", "protocol", "vlan_present", "vlan_tci", "vlan_proto", "priority", "ifindex", "tc_index",
                 "tc_classid")

OP_CLASS = '''
HOST_CWD = -100


class Op:
    """One row of the child's table; ops.h says what an operation does with each field.

    Args:
        number: OP_*.
        slot, dir: slot numbers; -1 is none, HOST_CWD as dir the process's own root.
        s1, s2: texts; empty is the same as none.
        a, b, c: unsigned 64 bit numbers; pad: unsigned 32 bit.

    Attributes:
        shared: whether several tables have it; row: as these hold it, once it was packed.
    """

    __slots__ = ("a", "b", "c", "dir", "number", "pad", "row", "s1", "s2", "shared", "slot")

    def __init__(self, number: int, slot: int = -1, dir: int = HOST_CWD, s1: bytes = b"", s2: bytes = b"",
                 a: int = 0, b: int = 0, c: int = 0, pad: int = 0) -> None:
        self.number, self.slot, self.dir, self.s1, self.s2 = number, slot, dir, s1, s2
        self.a, self.b, self.c, self.pad = a, b, c, pad
        self.shared, self.row = False, b""

    def _key(self) -> tuple[object, ...]:
        return (self.number, self.slot, self.dir, self.s1, self.s2, self.a, self.b, self.c, self.pad)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Op) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        words = [OP_NAMES.get(self.number, str(self.number))]
        for field, default in (("slot", -1), ("dir", HOST_CWD), ("s1", b""), ("s2", b""), ("a", 0), ("b", 0),
                               ("c", 0), ("pad", 0)):
            value = getattr(self, field)
            if value != default:
                words.append(f"{field}={value:#x}" if field in "abc" else f"{field}={value!r}")
        return f"Op({', '.join(words)})"
'''


def compile_c(sources: list[str], out: str, flags: list[str]) -> None:
    """Compiles and links C files; the compiler's words go to stderr.

    Raises:
        CalledProcessError: the compiler refused.
    """
    subprocess.run([*CC, *WARNINGS, *flags, "-I", HERE, *sources, "-o", out], check=True)


def build_init(out: str, flags: list[str] | None = None) -> None:
    """Builds the interpreter: static, or with other flags (HOSTED, for the sanitizers)."""
    compile_c([os.path.join(HERE, name) for name in INIT_SOURCES], out, STATIC if flags is None else flags)


def build_floor(out: str) -> None:
    """Builds the benchmarks' floor, a static program as well, but an ordinary one: it does what a C runtime would."""
    compile_c([os.path.join(ROOT, "runspec", "bench", "floor.c")], out, ["-O2", "-static", "-s"])


def constant_names(header: str) -> list[str]:
    """Names of macros and enumerators in the kernel's headers that abi.py shall hold, sorted."""
    command = [*CC, "-E", "-I", HERE, header]
    macros = subprocess.run([*command, "-dM"], check=True, capture_output=True, text=True).stdout
    found = set(re.findall(r"^#define (\w+) +\S", macros, re.M))
    text = subprocess.run([*command, "-P"], check=True, capture_output=True, text=True).stdout
    for body in re.findall(r"\benum\b[^{;]*\{([^}]*)\}", text):
        found.update(re.findall(r"(?:^|,)\s*(\w+)", body))
    wanted = {name for name in found if NAMES.fullmatch(name) and not UNWANTED.fullmatch(name)}
    return sorted(wanted | (found & KEPT))


def read_constants(folder: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Compiles and runs a small program that prints the constants and the operations.

    Returns:
        (constant, value) sorted by name, and (operation's name, number) in the order of ops.h.
    """
    header, source, program = (os.path.join(folder, name) for name in ("names.c", "print.c", "print"))
    with open(header, "w", encoding="ascii") as file:
        file.write(HEADERS)
    rows = "".join(f'  PRINT("{name}", {name});\n' for name in constant_names(header))
    rows += "".join(f'  PRINT("SKB_{name.upper()}", offsetof(struct __sk_buff, {name}));\n' for name in PACKET_FIELDS)
    with open(source, "w", encoding="ascii") as file:
        file.write("#include <stdio.h>\n" + HEADERS
                   + '#define PRINT(name, value) printf("%s %lld\\n", name, (long long)(value))\n'
                   "int main(void)\n{\n" + rows + '  PRINT("HEAD_BYTES", sizeof(struct table_head));\n'
                   '  PRINT("OP_BYTES", sizeof(struct op));\n'
                   '  PRINT("REPORT_BYTES", sizeof(struct report));\n'
                   '  puts("");\n#define X(name, number) PRINT(#name, number);\n  OPS(X)\n  return 0;\n}\n')

    compile_c([source], program, ["-O0"])
    parts = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split("\n\n")
    constants, ops = ([(name, int(value)) for name, value in map(str.split, part.splitlines())]
                      for part in parts)
    return constants, ops


def write_abi(out: str) -> None:
    """Writes abi.py: Op, operation numbers and kernel constants."""
    with tempfile.TemporaryDirectory() as folder:
        constants, ops = read_constants(folder)
    lines = ['"""Operations of the child\'s table and kernel constants; made by kernel/native/build.py from',
             'ops.h and the kernel\'s headers, not to be edited."""', "",
             "from __future__ import annotations", ""]
    lines += [f"OP_{name} = {number}" for name, number in ops]
    lines += [f"OP_NAMES = {{{', '.join(f'{number}: {name!r}' for name, number in ops)}}}", ""]
    plain = [(name, value) for name, value in constants if not name.startswith(("CAP_", "SIG"))]
    lines += [f"{name} = {value:#x}" if value > 9 else f"{name} = {value}" for name, value in plain]
    for table, prefix in (("CAPS", "CAP_"), ("RLIMITS", "RLIMIT_"), ("SIGNALS", "SIG")):
        rows = sorted((value, name) for name, value in constants if name.startswith(prefix))
        lines += ["", f"{table} = {{{', '.join(f'{name!r}: {value}' for value, name in rows)}}}"]
    text = "\n".join(lines) + "\n" + OP_CLASS
    with open(out + ".new", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(out + ".new", out)


def build_step(root: str) -> None:
    """What a wheel needs beyond the extension: abi.py, init and floor, made in the source tree."""
    write_abi(os.path.join(root, "runspec", "abi.py"))
    build_init(os.path.join(root, "runspec", "kernel", "native", "init"))
    build_floor(os.path.join(root, "runspec", "bench", "floor"))


class Build(build_py):
    """setuptools' build_py with that step before it collects the files."""

    def run(self) -> None:
        """Makes abi.py, init and floor, then does what build_py does."""
        build_step(ROOT)
        super().run()


def main() -> int:
    """Builds everything in place, for a checkout."""
    build_step(ROOT)
    # setuptools keeps its intermediate files in build/; ffi.compile would leave them among the sources.
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
