/* Ops that run a hook: a program of the user's, waited for, with the container's state on its standard input.
 *
 * It is a session and process group of its own, so that a time-out ends all of it; it dies with us, and with
 * runspec on the other end of the control socket. Of what it says only the end is kept. */
#include <asm/signal.h>
#include <linux/close_range.h>
#include <linux/memfd.h>
#include <linux/poll.h>
#include <linux/prctl.h>
#include <linux/time.h>
#include <linux/time_types.h>
#include <linux/wait.h>
#include "init.h"

#define KEPT_BYTES 2048
#define CHUNK_BYTES 32768
#define SECOND 1000000000ll
#define GRACE (5 * SECOND)      /* for a killed process to be gone */

static uint32_t state_head, state_tail;
static int state_has_pid;

long op_hook_state(const struct op *op)
{
  state_head = op->s1;
  state_tail = op->s2;
  state_has_pid = op->a == 1;
  return 0;
}

static int64_t now(void)
{
  struct __kernel_timespec time = {0, 0};
  SYS(clock_gettime, CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

static long put(long fd, const char *bytes, uint32_t length)
{
  for (uint32_t done = 0; done < length;) {
    long wrote = SYS(write, fd, bytes + done, length - done);
    if (wrote <= 0)
      return wrote ? wrote : -EIO;
    done += (uint32_t)wrote;
  }
  return 0;
}

/* The state in a memory file: unlike a pipe it takes any length while nobody reads. */
static long state_file(void)
{
  char digits[12];
  uint32_t at_digit = sizeof digits;
  long fd = SYS(memfd_create, "state", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
  if (fd == -EINVAL)
    fd = SYS(memfd_create, "state", MFD_CLOEXEC);
  if (fd < 0)
    return fd;
  long error = put(fd, bytes_at(state_head), length_at(state_head));
  for (long pid = SYS(getpid); pid; pid /= 10)
    digits[--at_digit] = (char)('0' + pid % 10);
  if (!error && state_has_pid)
    error = put(fd, digits + at_digit, sizeof digits - at_digit);
  if (!error)
    error = put(fd, bytes_at(state_tail), length_at(state_tail));
  if (!error)
    error = SYS(lseek, fd, 0, 0);
  if (error)
    shut(fd);
  return error ? error : fd;
}

static void become(const struct op *op, const char **words, const char **environment, const long *fds)
{
  int32_t error;
  SYS(setsid);
  SYS(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  long done = SYS(dup3, fds[0], 0, 0);
  for (int number = 1; number <= 2 && done >= 0; number++)
    done = SYS(dup3, fds[1], number, 0);
  if (done >= 0 && op->dir >= 0) {
    done = slot_fd(op->dir);
    done = done < 0 ? done : SYS(fchdir, done);
  }
  if (done >= 0)
    done = SYS(close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
  reset_signals();
  SYS(umask, inherited_umask);
  if (done >= 0)
    done = SYS(execve, words[0], words + 1, environment);
  error = (int32_t)done;
  SYS(write, fds[2], &error, sizeof error);
  leave(127);
}

/* Reads what is there; of all that came so far the last KEPT_BYTES stay at the front of the buffer. */
static int absorb(int fd, uint32_t *kept)
{
  char *fresh = buffer + sizeof(int32_t) + KEPT_BYTES, *old = buffer + sizeof(int32_t);
  long got = SYS(read, fd, fresh, CHUNK_BYTES);
  if (got <= 0)
    return got == -EAGAIN || got == -EINTR;
  uint32_t more = (uint32_t)got, keep = *kept;
  if (more >= KEPT_BYTES)
    keep = 0;
  else if (keep + more > KEPT_BYTES)
    keep = KEPT_BYTES - more;
  for (uint32_t i = 0; i < keep; i++)
    old[i] = old[*kept - keep + i];
  if (more > KEPT_BYTES) {
    fresh += more - KEPT_BYTES;
    more = KEPT_BYTES;
  }
  for (uint32_t i = 0; i < more; i++)
    old[keep + i] = fresh[i];
  *kept = keep + more;
  return 1;
}

/* Until the hook's end, or -ETIMEDOUT; runspec's end takes the hook and us along. */
static long watch(int pidfd, long pid, int output, int64_t end, uint32_t *kept)
{
  struct pollfd waiting[3] = {{pidfd, POLLIN, 0}, {output, POLLIN, 0}, {CONTROL_FD, 0, 0}};
  for (;;) {
    int64_t rest = end ? end - now() : 0;
    struct __kernel_timespec time = {rest / SECOND, rest % SECOND};
    if (end && rest <= 0)
      return -ETIMEDOUT;
    long ready = SYS(ppoll, waiting, 3, end ? &time : 0, 0, 8);
    if (ready == -EINTR)
      continue;
    if (ready < 0)
      return ready;
    if (waiting[2].revents) {
      SYS(kill, -pid, SIGKILL);
      leave(1);
    }
    if (waiting[1].revents && !absorb(output, kept))
      waiting[1].fd = -1;
    if (waiting[0].revents) {
      /* Its last words; not those of what it left behind, which may write for ever. */
      struct pollfd more = {output, POLLIN, 0};
      struct __kernel_timespec at_once = {0, 0};
      for (int i = 0; i < 64 && SYS(ppoll, &more, 1, &at_once, 0, 8) == 1 && absorb(output, kept); i++)
        ;
      return 0;
    }
  }
}

static long run_hook(const struct op *op, const char **words, const char **environment, const long *fds,
                     int output, int result, int32_t *status, uint32_t *kept)
{
  int pidfd = -1;
  int32_t failed = 0;
  int64_t end = op->a ? now() + (int64_t)op->a * 1000000 : 0;
  /* clone, not clone3: filters that a container's program lives under know it. */
  long pid = SYS(clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
  if (pid == 0)
    become(op, words, environment, fds);
  if (pid < 0)
    return pid;
  shut(fds[1]);
  shut(fds[2]);
  long got;
  do   /* end of file: it was executed */
    got = SYS(read, result, &failed, sizeof failed);
  while (got == -EINTR);
  long error = got == sizeof failed ? failed : watch(pidfd, pid, output, end, kept);
  if (error == -ETIMEDOUT) {
    struct pollfd gone = {pidfd, POLLIN, 0};
    struct __kernel_timespec grace = {GRACE / SECOND, 0};
    SYS(kill, -pid, SIGKILL);
    if (SYS(ppoll, &gone, 1, &grace, 0, 8) == 1)
      SYS(wait4, pid, status, 0, 0);
  } else {
    while (SYS(wait4, pid, status, 0, 0) == -EINTR)
      ;
  }
  shut(pidfd);
  if (!error && *status)
    error = -ECHILD;
  /* As the first process of a pid namespace we get what it left behind. */
  while (SYS(wait4, -1, 0, WNOHANG, 0) > 0)
    ;
  return error;
}

long op_hook(const struct op *op)
{
  const char **words, **environment;
  int output[2], result[2];
  int32_t status = 0;
  uint32_t kept = 0;
  long error = string_array(op->s1, &words);
  if (!error)
    error = string_array(op->s2, &environment);
  if (!error && (!words[0] || !words[1]))
    error = -EINVAL;
  if (error)
    return error;
  long state = state_file();
  if (state < 0)
    return state;
  error = SYS(pipe2, output, O_CLOEXEC);
  if (!error && (error = SYS(pipe2, result, O_CLOEXEC)) != 0) {
    shut(output[0]);
    shut(output[1]);
  }
  if (!error) {
    long fds[3] = {state, output[1], result[1]};
    error = run_hook(op, words, environment, fds, output[0], result[0], &status, &kept);
    shut(output[0]);
    shut(result[0]);
  }
  shut(state);
  if (error) {
    memcpy(buffer, &status, sizeof status);
    send_report(REPORT_DATA, (int32_t)-error, buffer, (uint32_t)sizeof status + kept, -1);
  }
  return error;
}
