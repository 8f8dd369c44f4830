/* Thin wrappers of system calls that Python's os module lacks. Each returns a value >= 0 or -errno. */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/ioprio.h>
#include <linux/landlock.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <fcntl.h>
#include <unistd.h>
#include "compat.h"
#include "ops.h"

static long result(long value) { return value < 0 ? -errno : value; }

long runspec_openat2(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  long fd;
  int tries = 0;
  do   /* EAGAIN: a rename beside us, openat2(2) */
    fd = result(syscall(SYS_openat2, dir, path, &how, sizeof how));
  while (fd == -EAGAIN && ++tries < 128);
  return fd;
}

/* A memfd with these bytes that nobody, we included, can change any more. */
long runspec_sealed(const char *name, const char *data, size_t length, int executable)
{
  int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  int fd = executable ? memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC) : -1;
  if (fd < 0)   /* before Linux 6.3 there is no MFD_EXEC, and every memfd may be executed */
    fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return -errno;
  long error = 0;
  for (size_t done = 0; done < length && !error;) {
    ssize_t wrote = write(fd, data + done, length - done);
    if (wrote > 0)
      done += (size_t)wrote;
    else if (wrote == 0 || errno != EINTR)
      error = wrote ? -errno : -EIO;
  }
  if (!error)
    error = result(fcntl(fd, F_ADD_SEALS, seals));
  if (error)
    close(fd);
  return error ? error : fd;
}

/* Reads files, or links where '@' stands before the path, one after the other into the room; paths each end with
 * NUL. lengths: of what each holds, or -errno; -EFBIG where it does not fit any more. Returns the bytes in the room. */
long runspec_read_files(const char *paths, uint32_t count, char *room, uint32_t size, int32_t *lengths)
{
  uint32_t used = 0;
  for (uint32_t i = 0; i < count; i++, paths += strlen(paths) + 1) {
    long got;
    if (*paths == '@') {
      got = result(readlink(paths + 1, room + used, size - used));
    } else {
      int fd = open(paths, O_RDONLY | O_CLOEXEC);
      uint32_t begin = used;
      got = result(fd);
      while (fd >= 0 && (got = result(read(fd, room + used, size - used))) > 0)
        used += (uint32_t)got;
      if (got >= 0)
        got = used - begin;
      used = begin;
      if (fd >= 0)
        close(fd);
    }
    if (got >= 0 && (uint32_t)got == size - used)
      got = -EFBIG;
    lengths[i] = (int32_t)got;
    if (got > 0)
      used += (uint32_t)got;
  }
  return used;
}

/* Waits at most timeout ms (-1: without end) for one report: the packet's length, 0 at the end of file,
 * -ETIMEDOUT, or another error. A descriptor that came along is in *fd, else -1. */
long runspec_receive(int control, char *room, size_t size, int *fd, int timeout)
{
  struct pollfd waiting = {.fd = control, .events = POLLIN};
  struct iovec part = {room, size};
  union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } rights;
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights, .msg_controllen = sizeof rights};
  *fd = -1;
  if (timeout >= 0) {
    int ready = poll(&waiting, 1, timeout);
    if (ready <= 0)
      return ready ? -errno : -ETIMEDOUT;
  }
  ssize_t got = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
  if (got < 0)
    return errno == ECONNRESET ? 0 : -errno;   /* the child died with our byte unread */
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int)))
    memcpy(fd, CMSG_DATA(header), sizeof *fd);
  return message.msg_flags & MSG_TRUNC ? -EMSGSIZE : got;
}

/* Opens a barrier. MSG_NOSIGNAL: a child that died must not kill us by SIGPIPE. */
long runspec_go(int control) { return result(send(control, "", 1, MSG_NOSIGNAL)); }

static long bpf(int command, union bpf_attr *attr) { return result(syscall(SYS_bpf, command, attr, sizeof *attr)); }

long runspec_bpf_load(const char *instructions, uint32_t count, const char *name, uint32_t kind)
{
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.prog_type = kind;
  attr.insns = (uint64_t)(uintptr_t)instructions;
  attr.insn_cnt = count;
  attr.license = (uint64_t)(uintptr_t)"Apache-2.0";
  strncpy(attr.prog_name, name, sizeof attr.prog_name - 1);
  return bpf(BPF_PROG_LOAD, &attr);
}

long runspec_bpf_attach(int cgroup, int program, uint32_t flags, int replaced)
{
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.target_fd = (uint32_t)cgroup;
  attr.attach_bpf_fd = (uint32_t)program;
  attr.attach_type = BPF_CGROUP_DEVICE;
  attr.attach_flags = flags;
  attr.replace_bpf_fd = replaced < 0 ? 0 : (uint32_t)replaced;
  return bpf(BPF_PROG_ATTACH, &attr);
}

long runspec_bpf_detach(int cgroup, int program)
{
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.target_fd = (uint32_t)cgroup;
  attr.attach_bpf_fd = (uint32_t)program;
  attr.attach_type = BPF_CGROUP_DEVICE;
  return bpf(BPF_PROG_DETACH, &attr);
}

/* Ids of the device programs attached to the cgroup itself; returns how many there are. */
long runspec_bpf_query(int cgroup, uint32_t *ids, uint32_t room)
{
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.query.target_fd = (uint32_t)cgroup;
  attr.query.attach_type = BPF_CGROUP_DEVICE;
  attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
  attr.query.prog_cnt = room;
  long error = bpf(BPF_PROG_QUERY, &attr);
  return error < 0 ? error : (long)attr.query.prog_cnt;
}

long runspec_bpf_open(uint32_t id)
{
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.prog_id = id;
  return bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

/* The program's id; its tag (8 bytes, a hash of its instructions) and name (16 bytes) are filled in. */
long runspec_bpf_info(int program, char *tag, char *name)
{
  struct bpf_prog_info info;
  union bpf_attr attr;
  memset(&info, 0, sizeof info);
  memset(&attr, 0, sizeof attr);
  attr.info.bpf_fd = (uint32_t)program;
  attr.info.info_len = sizeof info;
  attr.info.info = (uint64_t)(uintptr_t)&info;
  long error = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
  if (error < 0)
    return error;
  memcpy(tag, info.tag, sizeof info.tag);
  memcpy(name, info.name, sizeof info.name);
  return (long)info.id;
}

/* How another task is scheduled, sched_setattr(2); attr begins with its own size. */
long runspec_sched_set(int task, const char *attr) { return result(syscall(SYS_sched_setattr, task, attr, 0)); }
long runspec_sched_get(int task, char *attr, uint32_t size)
{
  return result(syscall(SYS_sched_getattr, task, attr, size, 0));
}

long runspec_ioprio_set(int task, int value) { return result(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, task, value)); }
long runspec_ioprio_get(int task) { return result(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, task)); }

/* The version of Landlock's interface, landlock(7); -ENOSYS or -EOPNOTSUPP without it. */
long runspec_landlock_abi(void)
{
  return result(syscall(SYS_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION));
}

/* 0 where the kernel knows these flags of seccomp(2): it then goes on to look at the program, which is none. */
long runspec_seccomp_knows(uint32_t flags)
{
  long got = result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, 0));
  return got == -EFAULT ? 0 : got;
}

long runspec_userfaultfd(void) { return result(syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY)); }

/* Wakes the process that sleeps at this address, see SECCOMP in ops.h. The answer is no static array, which every
 * load of the extension would carry. */
long runspec_answer_fault(int fault, uint64_t address)
{
  uint32_t *answer = mmap(0, SECCOMP_AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (answer == MAP_FAILED)
    return -errno;
  *answer = SECCOMP_ANSWER;
  struct uffdio_copy copy = {.dst = address, .src = (uint64_t)(uintptr_t)answer, .len = SECCOMP_AREA};
  long got = result(ioctl(fault, UFFDIO_COPY, &copy));
  munmap(answer, SECCOMP_AREA);
  return got;
}

/* A copy of another process's descriptor. */
long runspec_pidfd_getfd(int process, int number) { return result(syscall(SYS_pidfd_getfd, process, number, 0)); }
