/* The operations a child's table may hold, and the shape of the table: the one place where
 * Python (through abi.py, made from this file) and init.c agree.
 *
 * A table is one sealed memfd:
 *   struct table_head, then head.ops x struct op, then the text area.
 * s1 and s2 of an op are offsets into the text area (0 = none) of a struct text: a length,
 * that many bytes, and a NUL. Every count and offset is checked before the first op runs; a bad table
 * is EBADMSG with the index of the first bad op. The text area begins with four zero bytes.
 *
 * Slots are small numbers naming descriptors of the child: 0..given-1 are those handed over at
 * spawn, others are filled by ops. HOST_CWD (-100, AT_FDCWD) as `dir` means the process's own root
 * (the interpreter does chdir("/") first; after a CHDIR it is that directory).
 *
 * Every op either succeeds or ends the child with one REPORT_ERROR {index, errno}.
 */
#ifndef RUNSPEC_OPS_H
#define RUNSPEC_OPS_H
#include <stdint.h>

#define TABLE_MAGIC 0x31707372u
#define TABLE_SLOTS 64
#define TABLE_MAX_OPS 4096
#define TABLE_MAX_BYTES (8u << 20)
#define TABLE_NO_OP 0xffffffffu   /* index of a report on what failed before the table was read */
#define SECCOMP_ANSWER 0x72777361u
#define SECCOMP_AREA 65536   /* a multiple of any page size */

struct table_head { uint32_t magic, ops, bytes, given; };
struct op { uint32_t number; int32_t slot, dir; uint32_t s1, s2, pad; uint64_t a, b, c; };
struct text { uint32_t length; char bytes[]; };

/* On the control socket (SOCK_SEQPACKET), child to parent; DATA follows its header in the packet. */
struct report { uint32_t kind, index; int32_t error; uint32_t length; };
enum { REPORT_BARRIER = 1, REPORT_DATA, REPORT_FD, REPORT_FORK, REPORT_ERROR, REPORT_DONE, REPORT_LISTENER };

/* X(NAME, number): what it does with slot, dir, s1, s2, a, b, c. */
#define OPS(X) \
  X(BARRIER, 1)        /* report BARRIER, wait for one byte; end of file (parent died): exit at once */ \
  X(SETNS, 2)          /* setns(slot, a=CLONE_NEW* mask; slot may be a pidfd); like UNSHARE it forgets the netlink socket */ \
  X(UNSHARE, 3)        /* unshare(a) */ \
  X(FORK, 4)           /* go on in a sibling: clone3(CLONE_PARENT|CLONE_PIDFD); the old process sends its pidfd with REPORT_FORK (data: its pid, an int32) and exits, and only then the sibling goes on */ \
  X(SETSID, 5)         /* setsid() */ \
  X(PRCTL, 6)          /* prctl(a, b, c, 0, 0) */ \
  X(OPEN, 7)           /* slot = openat2(dir, s1, flags a, resolve b, mode c) */ \
  X(CLOSE, 8)          /* close(slot) */ \
  X(DUP, 9)            /* dup2(slot, descriptor number a), not close-on-exec: only for a <= 2 */ \
  X(OPEN_TREE, 10)     /* slot = open_tree(dir, s1, a); a gets AT_EMPTY_PATH where s1 is empty */ \
  X(FSOPEN, 11)        /* slot = fsopen(s1) */ \
  X(FSCONFIG, 12)      /* fsconfig(slot, cmd a, key s1, value s2); for FSCONFIG_SET_FD and _SET_PATH dir is the descriptor */ \
  X(FSMOUNT, 13)       /* slot = fsmount(dir, attributes a) */ \
  X(MOUNT_SETATTR, 14) /* mount_setattr(slot, "", AT_EMPTY_PATH | (pad & 1 ? AT_RECURSIVE : 0), {set a, clr b, propagation c, userns_fd = dir slot if dir >= 0 and set has MOUNT_ATTR_IDMAP}) */ \
  X(MOVE_MOUNT, 15)    /* move_mount(slot, "", dir, ""): both by descriptor */ \
  X(MKDIR, 16)         /* slot = O_PATH descriptor of directory s1 below dir (as root: RESOLVE_IN_ROOT), made step by step with mode a where missing; b & 1: no symlink anywhere on the way, else it may not lie in a procfs (EPERM); a symlink to nothing is ELOOP */ \
  X(MKFILE, 17)        /* the same for a regular file; an existing non-directory is taken as it is (a symlink is ELOOP if b & 1); a directory is EISDIR */ \
  X(MKNOD, 18)         /* mknodat(dir, s1, mode a, dev b) in a directory dir, s1 a plain name; then chown to c = uid | gid << 32 and chmod to a, by descriptor; an equal node is taken over, another is EEXIST */ \
  X(SYMLINK, 19)       /* symlinkat(target s2, dir, name s1); an existing name is left alone */ \
  X(PIVOT, 20)         /* fchdir(slot), pivot_root(".", "."), umount2(".", MNT_DETACH), chdir("/") */ \
  X(CHDIR, 21)         /* chdir(s1), made first if a & 1; then getcwd must begin with '/' */ \
  X(SETHOSTNAME, 22)   /* sethostname(s1) */ \
  X(SETDOMAINNAME, 23) /* setdomainname(s1) */ \
  X(WRITE, 24)         /* one write of s2 to s1 below dir: openat2(dir, s1, O_WRONLY|O_NOFOLLOW|a, resolve b, mode c); without s1 to the slot dir itself */ \
  X(READ, 25)          /* read at most a bytes of s1 below dir (resolve b), REPORT_DATA; a file that is missing or unreadable: REPORT_DATA with error set, not fatal; at most 64 KiB; without s1 from the slot dir itself */ \
  X(NETLINK, 26)       /* send message s1 on a NETLINK_ROUTE socket of the present namespace, wait for its ack; c: an errno to be taken as success (17, EEXIST) or 0; with a slot its descriptor's number is put into the message at offset a, where it has four bytes for it (TCA_BPF_FD, IFLA_NET_NS_FD) */ \
  X(DUMP, 27)          /* send dump request s1, REPORT_DATA for each datagram until NLMSG_DONE, then an empty REPORT_DATA */ \
  X(SEND_FD, 28)       /* REPORT_FD with slot as SCM_RIGHTS */ \
  X(RLIMIT, 29)        /* setrlimit(a, soft b, hard c) */ \
  X(UMASK, 30)         /* umask(a), at EXEC: until then it is 0, so that modes are meant exactly; without this op the caller's */ \
  X(SETGROUPS, 31)     /* setgroups of s1, an array of uint32 */ \
  X(SETGID, 32)        /* setresgid(a, a, a) */ \
  X(SETUID, 33)        /* setresuid(a, a, a) */ \
  X(BOUNDING, 34)      /* drop every capability not in mask a from the bounding set */ \
  X(CAPSET, 35)        /* capset(effective a, permitted b, inheritable c) */ \
  X(AMBIENT, 36)       /* clear the ambient set, raise those in mask a */ \
  X(MASK, 37)          /* hide s1 below dir: a directory under an empty read-only tmpfs, else under a read-only clone of slot (a checked /dev/null, opened in this mount namespace); missing: nothing */ \
  X(READONLY, 38)      /* make s1 below dir a read-only mount of itself; its submounts keep their flags; missing: nothing */ \
  X(EXEC, 39)          /* close every descriptor above 2, reset signals, execve: s1 = arguments, each ended by NUL; s2 = environment alike; a name without '/' is looked up in the PATH of s2 */ \
  X(UNAME, 40)         /* REPORT_DATA: nodename NUL domainname NUL */ \
  X(CHECK_NULL, 41)    /* slot must be the character device 1:3 */ \
  X(IGNORE_NEXT, 42)   /* the next op may fail: REPORT_DATA with its index and errno instead of the end; a: ops to leap over if it fails */ \
  X(UMOUNT, 43)        /* umount2 of s1 below dir (its parent entered by RESOLVE_IN_ROOT|NO_SYMLINKS, its name not followed), flags a; with b & 1 one that is busy is detached instead, and REPORT_DATA tells EBUSY */ \
  X(REMOVE, 44)        /* unlinkat(dir, s1 a plain name, a) */ \
  X(RESET_SOCKET, 45)  /* forget the netlink socket, after a change of network namespace */ \
  X(KEYRING, 46)       /* a new, empty session keyring; a kernel without keys: nothing */ \
  X(FSPICK, 49)        /* slot = fspick of the mount at s1 below dir (RESOLVE_IN_ROOT|NO_SYMLINKS), to change its file system */ \
  X(SCHEDULER, 50)     /* sched_setattr of oneself, s1 = struct sched_attr */ \
  X(IO_PRIORITY, 51)   /* ioprio_set of oneself, a */ \
  X(AFFINITY, 52)      /* sched_setaffinity of oneself, s1 = the mask */ \
  X(PERSONALITY, 53)   /* personality(a) */ \
  X(MEMORY_POLICY, 54) /* set_mempolicy(mode and flags a, s1 = the mask of nodes) */ \
  X(LANDLOCK, 55)      /* slot = landlock_create_ruleset of handled rights: files a, ports b, scopes c */ \
  X(LANDLOCK_PATH, 56) /* to the rules in slot: below s1 below dir, rights a are kept; of a file only those also in b */ \
  X(LANDLOCK_PORT, 57) /* to the rules in slot: TCP port a may be used as rights b say */ \
  X(LANDLOCK_RESTRICT, 58) /* landlock_restrict_self(slot) */ \
  X(HOOK_STATE, 60)    /* what the hooks that follow read: s1, then our pid if a is 1, then s2 */ \
  X(HOOK, 61)          /* run and wait: s1 = path, then arguments, each ended by NUL; s2 = environment alike; a: milliseconds until SIGKILL, 0 for none; cwd: slot dir, or ours. Failed: REPORT_DATA with the errno (ECHILD: by its own status), data: the wait status, an int32, and its last words */ \
  X(TERMINAL, 62)      /* slot = the slave of the pty master in dir, both of a devpts; a: rows | columns << 16, 0 to leave it; b: the slave's owner */ \
  X(CONTROL_TTY, 63)   /* slot becomes the controlling terminal of our session */ \
  X(SECCOMP, 65)       /* seccomp(SECCOMP_SET_MODE_FILTER, flags a, s1 = the program), at EXEC, right before execve; b & 1: at once. With SECCOMP_FILTER_FLAG_NEW_LISTENER: REPORT_LISTENER with a userfaultfd, data: uint64 address, uint64 number; the process then sleeps at that address, the listener being its descriptor of that number, until SECCOMP_ANSWER is put there */ \
  X(GATE, 70)          /* close all else but 0, 1, 2 and, if it is filled, slot b - 1, report BARRIER, then wait at the listening socket in slot, whoever lives or dies meanwhile; the connection that sends one byte becomes the control socket */ \
  X(FIND_PROGRAM, 71)  /* s1, s2 as for EXEC: fail as that would where there is no such program, or it may not be executed */ \
  X(TOGETHER, 72)      /* from here on REPORT_DATA without a descriptor share packets, which go when they are full or before another report */

#define X(name, number) OP_##name = number,
enum { OPS(X) };
#undef X
#endif
