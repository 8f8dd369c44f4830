/* What the files of the interpreter share: its state, and the helpers that reach slots and texts. */
#ifndef RUNSPEC_INIT_H
#define RUNSPEC_INIT_H
#include <asm/errno.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <stddef.h>
#include "compat.h"
#include "ops.h"
#include "sys.h"

#define CONTROL_FD 3
#define TABLE_FD 4
#define FIRST_SLOT_FD 10
#define HOST_CWD (-100)
#define BUFFER_BYTES 131072     /* a link's names alone may be 64 KiB */
#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

typedef long run_op(const struct op *op);

extern uint32_t at;                 /* index of the op that runs, the `index` of every report */
extern uint32_t inherited_umask;    /* what EXEC puts back; the interpreter itself runs with umask 0 */
extern char buffer[BUFFER_BYTES];   /* for data on its way to the parent, one op at a time */

/* A text of the checked table; never called with 0 where the op demands a text. */
const struct text *text_at(uint32_t offset);
static inline const char *bytes_at(uint32_t offset) { return offset ? text_at(offset)->bytes : ""; }
static inline uint32_t length_at(uint32_t offset) { return offset ? text_at(offset)->length : 0; }

long slot_fd(int32_t slot);         /* descriptor of a filled slot, or -EBADF */
long dir_fd(int32_t dir);           /* the same, and AT_FDCWD for HOST_CWD */
long fill(int32_t slot, long fd);   /* keep fd (or pass an error on) in slot, closing what was there */
void empty(int32_t slot);

/* Turns strings that each end with NUL into an array of pointers ended by a null one. */
long string_array(uint32_t offset, const char ***out);

void send_report(uint32_t kind, int32_t error, const void *data, uint32_t length, int fd);
void leave(int status) __attribute__((noreturn));

/* openat2(2), always close-on-exec, retried where a rename in the tree made it give up. */
long open_below(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
long file_status(int fd, struct statx *out);
void reset_signals(void);           /* all as by default, none blocked: what a program begins with */
static inline void shut(long fd) { if (fd >= 0) SYS(close, fd); }

void *memcpy(void *to, const void *from, size_t count);
void *memset(void *to, int byte, size_t count);
int memcmp(const void *a, const void *b, size_t count);
size_t strlen(const char *s);

/* ops_path.c */
run_op op_open, op_mkdir, op_mkfile, op_mknod, op_symlink, op_chdir, op_write, op_read, op_remove, op_check_null;
/* ops_mount.c */
run_op op_open_tree, op_fsopen, op_fsconfig, op_fsmount, op_mount_setattr, op_move_mount, op_pivot, op_mask,
       op_readonly, op_umount, op_fspick;
/* ops_attributes.c */
run_op op_scheduler, op_io_priority, op_affinity, op_personality, op_memory_policy, op_landlock, op_landlock_path,
       op_landlock_port, op_landlock_restrict;
/* ops_hook.c */
run_op op_hook_state, op_hook;
/* ops_terminal.c */
run_op op_terminal, op_control_tty;
/* ops_seccomp.c */
run_op op_seccomp;
long load_filter(void);     /* the one that waits for EXEC, if any */
/* ops_net.c */
run_op op_netlink, op_dump, op_reset_socket;
/* ops_process.c */
run_op op_barrier, op_setns, op_unshare, op_fork, op_setsid, op_prctl, op_dup, op_close, op_sethostname,
       op_setdomainname, op_send_fd, op_rlimit, op_umask, op_setgroups, op_setgid, op_setuid, op_bounding,
       op_capset, op_ambient, op_exec, op_uname, op_keyring, op_gate, op_find_program;
#endif
