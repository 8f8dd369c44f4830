/* The filter of system calls, loaded as late as its rights allow. */
#include <asm/mman.h>
#include <linux/filter.h>
#include <linux/ioctl.h>
#include <linux/mman.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include "init.h"

static const struct op *waiting;

/* Hands the listener on although the filter may refuse, or notify of, every call that could do so: the
 * parent takes it by pidfd_getfd(2), and meanwhile we sleep in a page fault, which no filter sees. */
static long load_with_listener(uint32_t flags, const struct sock_fprog *program)
{
  struct uffdio_api api = {.api = UFFD_API};
  long page = SYS(mmap, 0, SECCOMP_AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page < 0 && page > -4096)
    return page;
  struct uffdio_register area = {{(uint64_t)page, SECCOMP_AREA}, UFFDIO_REGISTER_MODE_MISSING, 0};
  long fault = SYS(userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
  if (fault < 0)
    return fault;
  long error = SYS(ioctl, fault, UFFDIO_API, &api);
  if (!error)
    error = SYS(ioctl, fault, UFFDIO_REGISTER, &area);
  if (!error) {
    /* Its number is the lowest that is free, and so the listener's once it is closed. */
    uint64_t words[2] = {(uint64_t)page, (uint64_t)fault};
    send_report(REPORT_LISTENER, 0, words, sizeof words, (int)fault);
  }
  shut(fault);          /* only the parent may answer, and its death wakes us */
  if (error)
    return error;
  long listener = SYS(seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
  if (listener < 0)
    return listener;
  /* A page of zeros instead of the answer: the parent died before anybody had the listener. */
  if (*(volatile uint32_t *)page != SECCOMP_ANSWER || listener != fault)
    __builtin_trap();
  return 0;
}

static long load(const struct op *op)
{
  struct sock_fprog program = {
    (unsigned short)(length_at(op->s1) / sizeof(struct sock_filter)), (struct sock_filter *)bytes_at(op->s1)};
  if (length_at(op->s1) % sizeof(struct sock_filter) || length_at(op->s1) / sizeof(struct sock_filter) > BPF_MAXINSNS)
    return -EINVAL;
  if (op->a & SECCOMP_FILTER_FLAG_NEW_LISTENER)
    return load_with_listener((uint32_t)op->a, &program);
  return SYS(seccomp, SECCOMP_SET_MODE_FILTER, op->a, &program);
}

long op_seccomp(const struct op *op)
{
  if (op->b & 1)
    return load(op);
  waiting = op;
  return 0;
}

long load_filter(void)
{
  const struct op *op = waiting;
  waiting = 0;
  return op ? load(op) : 0;
}
