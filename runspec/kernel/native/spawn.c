/* Starts the interpreter (init.c) as a child, without forking Python.
 *
 *   parent (Python)                         child (init, from the sealed memfd)
 *   pack the table, spawn ----------------> clone3, execveat; checks the table
 *                                           ops ...
 *            <--------------- REPORT_BARRIER  BARRIER (go): waits
 *   id maps, cgroups, links
 *   one byte ----------------------------->
 *                                           mounts, pivot, ids ...
 *            <--- REPORT_DATA, FD, FORK ...   as the ops say
 *            <--------------- REPORT_BARRIER  BARRIER (start): waits, perhaps for days
 *   one byte ----------------------------->
 *                                           EXEC
 *            <--------------- end of file     the program runs (the socket was close-on-exec), or
 *            <--------------- REPORT_ERROR    {op index, errno}, and the child is gone, or
 *            <--------------- REPORT_DONE     the table had no EXEC
 *   If the parent dies, a child at a BARRIER reads end of file and exits.
 *
 * The child of clone3(CLONE_VM) runs in our memory, on a stack of its own, until execveat. With CLONE_VFORK
 * the calling thread waits meanwhile; without, the child has a room for what it reads and writes until then,
 * which the kernel gives back by clearing a word of it (CLONE_CHILD_CLEARTID) when the child leaves our memory.
 * Hence raw system calls only: another thread may hold any lock, and errno is the caller's. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <string.h>
#include "ops.h"
#include "sys.h"

#define CONTROL_FD 3
#define TABLE_FD 4
#define INIT_FD 5
#define FIRST_SLOT_FD 10
#define STACK_BYTES 16384
#define ROOMS 8     /* children on their way to execveat that nobody waits for */
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

struct order {
  int init, table, control, count;
  const int *slots, *stdio;
  uint64_t mask;          /* the caller's signal mask, for the child */
  volatile long error;    /* set by the child where it fails before execveat */
  int told;               /* the descriptor at which nobody waiting is told so, -1 where somebody waits */
};

static struct room {
  uint32_t busy;          /* the kernel clears it */
  int slots[TABLE_SLOTS], stdio[3];
  struct order order;
  char stack[STACK_BYTES] __attribute__((aligned(16)));
} rooms[ROOMS];

/* Copies fd to `number`, kept over exec if `keep`. */
static long place(long fd, int number, int keep)
{
  return fd < 0 ? fd : SYS(dup3, fd, number, keep ? 0 : O_CLOEXEC);
}

/* First all that is wanted goes above the numbers in use, so that no move overwrites a later one's
 * source; then each goes to its place. */
static long arrange(struct order *order)
{
  int low = FIRST_SLOT_FD + order->count;
  int stdio[3], slots[TABLE_SLOTS], fixed[3] = {order->control, order->table, order->init};
  long error = 0;
  for (int i = 0; i < 3 && error >= 0; i++)
    error = fixed[i] = (int)SYS(fcntl, fixed[i], F_DUPFD_CLOEXEC, low);
  for (int i = 0; i < order->count && error >= 0; i++)
    error = slots[i] = (int)SYS(fcntl, order->slots[i], F_DUPFD_CLOEXEC, low);
  for (int i = 0; i < 3 && error >= 0; i++) {
    if (order->stdio[i] >= 0) {
      error = stdio[i] = (int)SYS(fcntl, order->stdio[i], F_DUPFD_CLOEXEC, low);
      continue;
    }
    /* A closed or close-on-exec 0, 1 or 2 is not meant for the child, but the number must be taken, else
     * the next thing that init opens becomes the program's stdin. */
    long flags = SYS(fcntl, i, F_GETFD);
    stdio[i] = -1;
    if (flags < 0 || (flags & FD_CLOEXEC))
      error = stdio[i] = (int)SYS(openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
  }
  for (int i = 0; i < 3 && error >= 0; i++)
    if (stdio[i] >= 0)
      error = stdio[i] == i ? SYS(fcntl, i, F_SETFD, 0) : place(stdio[i], i, 1);
  if (error >= 0)
    error = place(fixed[0], CONTROL_FD, 1);
  if (error >= 0 && order->told >= 0)
    order->told = CONTROL_FD;
  if (error >= 0)
    error = place(fixed[1], TABLE_FD, 1);
  if (error >= 0)
    error = place(fixed[2], INIT_FD, 0);
  for (int i = 0; i < order->count && error >= 0; i++)
    error = place(slots[i], FIRST_SLOT_FD + i, 1);
  if (error >= 0)
    error = SYS(close_range, INIT_FD + 1, FIRST_SLOT_FD - 1, 0);
  if (error >= 0)
    error = SYS(close_range, low, ~0u, 0);
  return error < 0 ? error : 0;
}

static void child(struct order *order)
{
  char name[] = "runspec";
  char *arguments[] = {name, 0}, *environment[] = {0};
  long error = arrange(order);
  /* CLONE_CLEAR_SIGHAND took our handlers away, so a signal now does the default, not Python's work. */
  if (!error)
    error = SYS(rt_sigprocmask, SIG_SETMASK, &order->mask, 0, sizeof order->mask);
  if (!error)
    error = SYS(execveat, INIT_FD, "", arguments, environment, AT_EMPTY_PATH);
  order->error = error;
  if (order->told >= 0) {
    struct report report = {REPORT_ERROR, TABLE_NO_OP, (int32_t)-error, 0};
    SYS(sendto, order->told, &report, sizeof report, MSG_NOSIGNAL, 0, 0);
  }
  for (;;)
    SYS(exit_group, 127);
}

/* clone3 where the child begins in run(order) on the stack in `how` and never comes back. */
static long clone_and_run(struct clone_args *how, void (*run)(struct order *), struct order *order)
{
#if defined(__x86_64__)
  register void (*r8)(struct order *) __asm__("r8") = run;
  register struct order *r9 __asm__("r9") = order;
  long result;
  __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n"
                   "xor %%ebp, %%ebp\n mov %%r9, %%rdi\n call *%%r8\n ud2\n1:"
                   : "=a"(result) : "a"(__NR_clone3), "D"(how), "S"(sizeof *how), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory", "cc");
  return result;
#else
  register long x8 __asm__("x8") = __NR_clone3;
  register long x0 __asm__("x0") = (long)how;
  register long x1 __asm__("x1") = sizeof *how;
  register void (*x2)(struct order *) __asm__("x2") = run;
  register struct order *x3 __asm__("x3") = order;
  __asm__ volatile("svc 0\n cbnz x0, 1f\n mov x29, xzr\n mov x0, x3\n blr x2\n brk 0\n1:"
                   : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory", "cc");
  return x0;
#endif
}

/* A room that no child is in, 0 where all are taken. */
static struct room *enter(void)
{
  for (int i = 0; i < ROOMS; i++) {
    uint32_t nobody = 0;
    if (__atomic_compare_exchange_n(&rooms[i].busy, &nobody, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
      return &rooms[i];
  }
  return 0;
}

/* Returns 0 and fills pid, pidfd and control, or returns an errno and leaves nothing behind. Without `wait`
 * what fails between clone3 and execveat is told as a report about TABLE_NO_OP. */
int runspec_spawn(int init, int table, const int *slots, int count, uint64_t flags, int cgroup,
                  const int *stdio, int wait, int *pid, int *pidfd, int *control)
{
  char stack[STACK_BYTES] __attribute__((aligned(16)));   /* ours until the child is gone: vfork(2) */
  uint64_t all = ~0ull;
  int ends[2], made = -1;
  struct order own = {.init = init, .table = table, .count = count, .slots = slots, .stdio = stdio, .told = -1};
  struct order *order = &own;
  struct room *room = 0;
  struct clone_args how = {
    .flags = flags | CLONE_VM | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
    .pidfd = (uint64_t)(uintptr_t)&made, .exit_signal = SIGCHLD,
    .stack = (uint64_t)(uintptr_t)stack, .stack_size = sizeof stack,
  };
  if (count < 0 || count > TABLE_SLOTS || (flags & ~(uint64_t)NAMESPACES))
    return EINVAL;
  if (cgroup >= 0) {
    how.flags |= CLONE_INTO_CGROUP;
    how.cgroup = (uint64_t)cgroup;
  }
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
    return errno;
  if (!wait)
    room = enter();
  if (room) {
    memcpy(room->slots, slots, (size_t)count * sizeof *slots);
    memcpy(room->stdio, stdio, sizeof room->stdio);
    order = &room->order;
    *order = own;
    order->slots = room->slots;
    order->stdio = room->stdio;
    order->told = ends[1];
    how.flags |= CLONE_CHILD_CLEARTID;
    how.child_tid = (uint64_t)(uintptr_t)&room->busy;
    how.stack = (uint64_t)(uintptr_t)room->stack;
  } else {
    how.flags |= CLONE_VFORK;
  }
  order->control = ends[1];
  SYS(rt_sigprocmask, SIG_BLOCK, &all, &order->mask, sizeof all);
  uint64_t mask = order->mask;
  long child_pid = clone_and_run(&how, child, order);
  SYS(rt_sigprocmask, SIG_SETMASK, &mask, 0, sizeof all);
  close(ends[1]);
  if (room && child_pid < 0)
    __atomic_store_n(&room->busy, 0, __ATOMIC_RELEASE);
  long error = child_pid < 0 ? child_pid : own.error;     /* a room may be another child's by now */
  if (child_pid > 0 && error) {
    while (waitpid((pid_t)child_pid, 0, 0) < 0 && errno == EINTR)
      ;
    close(made);
  }
  if (error) {
    close(ends[0]);
    return (int)-error;
  }
  *pid = (int)child_pid;
  *pidfd = made;
  *control = ends[0];
  return 0;
}
