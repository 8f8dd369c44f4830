/* Ops on the process itself: namespaces, ids, capabilities, limits, and the last one, EXEC. */
#include <asm/mman.h>
#include <asm/signal.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/utsname.h>
#include "init.h"

#define SIGNALS 64
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

long op_barrier(const struct op *op)
{
  char word;
  long got;
  (void)op;
  send_report(REPORT_BARRIER, 0, 0, 0, -1);
  do
    got = SYS(read, CONTROL_FD, &word, 1);
  while (got == -EINTR);
  if (got <= 0)
    leave(1);   /* nobody is left to tell */
  return 0;
}

/* Nothing is read from the control socket: its other end may be gone at once, with the process that
 * created us. The socket's file says who may connect. */
long op_gate(const struct op *op)
{
  long listening = slot_fd(op->slot);
  char word;
  if (listening < 0)
    return listening;
  long kept = op->b ? slot_fd((int32_t)op->b - 1) : -1;
  if (kept < 0)
    kept = listening;
  for (int32_t slot = 0; slot < TABLE_SLOTS; slot++)
    if (slot != op->slot && (!op->b || slot != (int32_t)op->b - 1))
      empty(slot);
  op_reset_socket(op);
  long low = kept < listening ? kept : listening, high = kept < listening ? listening : kept;
  SYS(close_range, CONTROL_FD + 1, low - 1, 0);
  if (high > low + 1)
    SYS(close_range, low + 1, high - 1, 0);
  SYS(close_range, high + 1, ~0u, 0);
  send_report(REPORT_BARRIER, 0, 0, 0, -1);
  for (;;) {
    long got, guest = SYS(accept4, listening, 0, 0, O_CLOEXEC);
    if (guest == -EINTR || guest == -ECONNABORTED)
      continue;
    if (guest < 0)
      return guest;
    do
      got = SYS(read, guest, &word, 1);
    while (got == -EINTR);
    if (got == 1) {
      long error = SYS(dup3, guest, CONTROL_FD, O_CLOEXEC);
      shut(guest);
      empty(op->slot);
      return error < 0 ? error : 0;
    }
    shut(guest);    /* who came has died before it said anything */
  }
}

long op_setns(const struct op *op)
{
  long fd = slot_fd(op->slot);
  long error = fd < 0 ? fd : SYS(setns, fd, op->a);
  return error ? error : op_reset_socket(op);   /* a socket stays in the namespace it was made in */
}

long op_unshare(const struct op *op)
{
  long error = SYS(unshare, op->a);
  return error ? error : op_reset_socket(op);
}

/* The sibling waits until the old process is gone, so REPORT_FORK comes before all that it reports. */
long op_fork(const struct op *op)
{
  int pidfd = -1, ends[2];
  char word;
  (void)op;
  long error = SYS(pipe2, ends, O_CLOEXEC);
  if (error)
    return error;
  /* Not clone3, which a filter that is in place already may refuse, since it cannot see the flags. */
  long pid = SYS(clone, CLONE_PARENT | CLONE_PIDFD, 0, &pidfd, 0, 0);
  if (pid > 0) {
    int32_t number = (int32_t)pid;
    send_report(REPORT_FORK, 0, &number, sizeof number, pidfd);
    leave(0);
  }
  shut(ends[1]);
  while (pid == 0 && SYS(read, ends[0], &word, 1) == -EINTR)
    ;
  shut(ends[0]);
  return pid;
}

long op_setsid(const struct op *op)
{
  (void)op;
  long session = SYS(setsid);
  return session < 0 ? session : 0;
}

long op_keyring(const struct op *op)
{
  (void)op;
  long keyring = SYS(keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
  return keyring < 0 && keyring != -ENOSYS ? keyring : 0;
}

long op_prctl(const struct op *op)
{
  long result = SYS(prctl, op->a, op->b, op->c, 0, 0);
  return result < 0 ? result : 0;
}

long op_close(const struct op *op)
{
  long fd = slot_fd(op->slot);
  if (fd < 0)
    return fd;
  empty(op->slot);
  return 0;
}

long op_dup(const struct op *op)
{
  long fd = slot_fd(op->slot);
  if (fd < 0)
    return fd;
  fd = op->a > 2 ? -EINVAL : SYS(dup3, fd, op->a, 0);
  return fd < 0 ? fd : 0;
}

long op_sethostname(const struct op *op) { return SYS(sethostname, bytes_at(op->s1), length_at(op->s1)); }
long op_setdomainname(const struct op *op) { return SYS(setdomainname, bytes_at(op->s1), length_at(op->s1)); }

long op_send_fd(const struct op *op)
{
  long fd = slot_fd(op->slot);
  if (fd < 0)
    return fd;
  send_report(REPORT_FD, 0, 0, 0, (int)fd);
  return 0;
}

long op_rlimit(const struct op *op)
{
  struct rlimit64 limit = {op->b, op->c};
  return SYS(prlimit64, 0, op->a, &limit, 0);
}

long op_umask(const struct op *op)
{
  inherited_umask = op->a & 0777;   /* EXEC sets it: until then modes are meant exactly */
  return 0;
}

long op_setgroups(const struct op *op)
{
  uint32_t length = length_at(op->s1);
  return length % 4 ? -EINVAL : SYS(setgroups, length / 4, op->s1 ? bytes_at(op->s1) : 0);
}

long op_setgid(const struct op *op) { return SYS(setresgid, op->a, op->a, op->a); }
long op_setuid(const struct op *op) { return SYS(setresuid, op->a, op->a, op->a); }

long op_bounding(const struct op *op)
{
  for (unsigned int cap = 0; cap < 64; cap++) {
    if (op->a >> cap & 1)
      continue;
    long error = SYS(prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
    if (!error)
      continue;
    long held = SYS(prctl, PR_CAPBSET_READ, cap, 0, 0, 0);
    if (held < 0)   /* past this kernel's last capability, or a filter of the caller's own refuses to tell */
      return held == -EINVAL && cap ? 0 : held;
    if (held)
      return error;
  }
  return 0;
}

long op_capset(const struct op *op)
{
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {
    {(uint32_t)op->a, (uint32_t)op->b, (uint32_t)op->c},
    {(uint32_t)(op->a >> 32), (uint32_t)(op->b >> 32), (uint32_t)(op->c >> 32)},
  };
  return SYS(capset, &header, data);
}

long op_ambient(const struct op *op)
{
  long error = SYS(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (unsigned int cap = 0; cap < 64 && !error; cap++)
    if (op->a >> cap & 1)
      error = SYS(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
  return error;
}

long string_array(uint32_t offset, const char ***out)
{
  const char *bytes = bytes_at(offset);
  uint32_t length = length_at(offset), count = 0;
  for (uint32_t i = 0; i < length; i++)
    count += bytes[i] == '\0';
  long room = SYS(mmap, 0, (count + 1) * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room < 0 && room > -4096)
    return room;
  *out = (const char **)room;
  for (uint32_t i = 0, word = 0; word < count; word++, i += (uint32_t)strlen(bytes + i) + 1)
    (*out)[word] = bytes + i;
  return 0;
}

static const char *search_path(const char **environment)
{
  for (; *environment; environment++)
    if (strlen(*environment) > 5 && memcmp(*environment, "PATH=", 5) == 0)
      return *environment + 5;
  return DEFAULT_PATH;
}

static long executable(const char *path)
{
  struct statx status;
  long fd = SYS(openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
  if (fd < 0)
    return fd;
  long error = file_status((int)fd, &status);
  shut(fd);
  if (!error && (status.stx_mode & S_IFMT) != S_IFREG)
    error = -EACCES;
  /* By the effective ids, as execve judges: they are the program's already. */
  return error ? error : SYS(faccessat2, AT_FDCWD, path, 1 /* X_OK */, AT_EACCESS);
}

static long run_program(const char *path, const char **arguments, const char **environment)
{
  return arguments ? SYS(execve, path, arguments, environment) : executable(path);
}

/* execvpe(3) without its shell for ENOEXEC, or with null arguments just the search: a missing or unsuitable file leads on to the next
 * directory, EACCES is remembered, all else ends the search. */
static long search(const char *name, const char **arguments, const char **environment)
{
  static char candidate[8192];
  size_t length = strlen(name);
  long error = -ENOENT;
  int denied = 0;
  if (!length || length > 255)
    return length ? -ENAMETOOLONG : -ENOENT;
  for (const char *path = search_path(environment); ; path++) {
    size_t directory = 0;
    while (path[directory] && path[directory] != ':')
      directory++;
    if (directory + length + 2 <= sizeof candidate) {
      memcpy(candidate, path, directory);
      candidate[directory] = '/';
      memcpy(candidate + directory + !!directory, name, length + 1);   /* an empty entry is the cwd */
      error = run_program(candidate, arguments, environment);
      if (!error)
        return 0;
      denied |= error == -EACCES;
      if (error != -EACCES && error != -ENOENT && error != -ENOTDIR && error != -ENAMETOOLONG
          && error != -ESTALE && error != -ENODEV && error != -ETIMEDOUT)
        return error;
    }
    path += directory;
    if (!*path)
      return denied ? -EACCES : -ENOENT;
  }
}

static int has_slash(const char *name)
{
  while (*name && *name != '/')
    name++;
  return *name == '/';
}

void reset_signals(void)
{
  /* The kernel's struct sigaction has at most four words, all zero: SIG_DFL, no flags, empty mask. */
  static const uint64_t as_default[4], no_signal;
  for (int number = 1; number <= SIGNALS; number++)   /* SIGKILL and SIGSTOP refuse, rightly */
    SYS(rt_sigaction, number, as_default, 0, 8);
  SYS(rt_sigprocmask, SIG_SETMASK, &no_signal, 0, 8);
}

long op_exec(const struct op *op)
{
  const char **arguments, **environment;
  long error = string_array(op->s1, &arguments);
  if (!error)
    error = string_array(op->s2, &environment);
  /* Not closed but marked: the control socket must outlive a failing execve, to say so. */
  if (!error)
    error = SYS(close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
  if (error)
    return error;
  reset_signals();
  SYS(umask, inherited_umask);
  /* The filter last: it judges execve and what reports its failure, and nothing before. */
  error = load_filter();
  if (!error)
    error = has_slash(arguments[0]) ? SYS(execve, arguments[0], arguments, environment)
                                    : search(arguments[0], arguments, environment);
  SYS(umask, 0);
  return error;
}

long op_find_program(const struct op *op)
{
  const char **arguments, **environment;
  long error = string_array(op->s1, &arguments);
  if (!error)
    error = string_array(op->s2, &environment);
  if (error)
    return error;
  return has_slash(arguments[0]) ? executable(arguments[0]) : search(arguments[0], 0, environment);
}

long op_uname(const struct op *op)
{
  struct new_utsname name;
  (void)op;
  long error = SYS(uname, &name);
  if (error)
    return error;
  size_t first = strlen(name.nodename) + 1, second = strlen(name.domainname) + 1;
  memcpy(buffer, name.nodename, first);
  memcpy(buffer + first, name.domainname, second);
  send_report(REPORT_DATA, 0, buffer, (uint32_t)(first + second), -1);
  return 0;
}
