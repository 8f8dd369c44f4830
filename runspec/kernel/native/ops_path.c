/* Ops on files and directories. Whatever lies below a container's root is hostile: it is reached from
 * a descriptor, by openat2(2), and a name is never resolved twice. */
#include <asm/statfs.h>
#include <linux/magic.h>
#include "init.h"


long op_open(const struct op *op)
{
  long dir = dir_fd(op->dir);
  if (dir == -EBADF)
    return dir;
  return fill(op->slot, open_below((int)dir, bytes_at(op->s1), op->a, op->c, op->b));
}

static int is_dots(const char *name, size_t length)
{
  return length == 2 && name[0] == '.' && name[1] == '.';
}

/* Makes a directory of this plain name, unless it is there, and opens it; a symlink is ELOOP. */
static long make_directory(long dir, const char *name, uint64_t mode)
{
  long error = SYS(mkdirat, dir, name, mode);
  return error && error != -EEXIST ? error
         : open_below((int)dir, name, O_PATH | O_DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
}

/* Opens directory path[0..length) below root, making what is missing. Each component is made and then
 * opened from the descriptor of its parent; a symlink that leads nowhere in the root is an error
 * (ELOOP), for to make its target would let the image choose a place. runc: CVE-2024-45310. */
static long make_directories(int root, const char *path, size_t length, uint64_t mode, uint64_t resolve)
{
  static char prefix[4096];
  size_t end = 0;
  int made = 0;
  if (length >= sizeof prefix)
    return -ENAMETOOLONG;
  long here = open_below(root, "/", O_PATH | O_DIRECTORY, 0, resolve);
  memcpy(prefix, path, length);
  while (here >= 0) {
    while (end < length && path[end] == '/')
      end++;
    size_t begin = end;
    while (end < length && path[end] != '/')
      end++;
    if (begin == end)
      return here;
    prefix[end] = '\0';
    /* From the root while all exists, so that a symlink on the way is resolved within the root. */
    long next = made ? -ENOENT : open_below(root, prefix, O_PATH | O_DIRECTORY, 0, resolve);
    if (next == -ENOENT) {
      next = is_dots(path + begin, end - begin) ? -EINVAL : make_directory(here, prefix + begin, mode);
      made = 1;
    }
    if (end < length)
      prefix[end] = '/';
    shut(here);
    here = next;
  }
  return here;
}

static long directory_below(long root, const char *path, uint64_t mode, uint64_t resolve)
{
  long fd = open_below((int)root, path, O_PATH | O_DIRECTORY, 0, resolve);
  if (fd != -ENOENT)
    return fd;
  size_t length = strlen(path), plain = 0;
  while (plain < length && path[plain] != '/')
    plain++;
  if (!length || plain < length || is_dots(path, length))
    return make_directories((int)root, path, length, mode, resolve);
  return make_directory(root, path, mode);     /* one name, as most are */
}

static uint64_t way(const struct op *op) { return IN_ROOT | (op->b & 1 ? RESOLVE_NO_SYMLINKS : 0); }

/* A symlink of the image must not lead a mount over /proc or a part of it; runc: CVE-2019-16884. */
static long refuse_procfs(const struct op *op, long fd)
{
  struct statfs status;
  if (fd < 0 || (op->b & 1))
    return fd;
  long error = SYS(fstatfs, fd, &status);
  if (!error && status.f_type == PROC_SUPER_MAGIC)
    error = -EPERM;
  if (error)
    shut(fd);
  return error ? error : fd;
}

long op_mkdir(const struct op *op)
{
  long root = dir_fd(op->dir);
  if (root == -EBADF)
    return root;
  return fill(op->slot, refuse_procfs(op, directory_below(root, bytes_at(op->s1), op->a, way(op))));
}

/* O_PATH | O_NOFOLLOW opens a symlink itself; no op may take that for a file. */
static long refuse_kinds(long fd)
{
  struct statx status;
  if (fd < 0)
    return fd;
  long error = file_status((int)fd, &status);
  if (!error && (status.stx_mode & S_IFMT) == S_IFLNK)
    error = -ELOOP;
  if (!error && (status.stx_mode & S_IFMT) == S_IFDIR)
    error = -EISDIR;
  if (error)
    shut(fd);
  return error ? error : fd;
}

long op_mkfile(const struct op *op)
{
  const char *path = bytes_at(op->s1);
  long root = dir_fd(op->dir);
  if (root == -EBADF)
    return root;
  long fd = open_below((int)root, path, O_PATH | (op->b & 1 ? O_NOFOLLOW : 0), 0, way(op));
  if (fd != -ENOENT)
    return fill(op->slot, refuse_procfs(op, refuse_kinds(fd)));
  size_t begin = strlen(path);
  while (begin && path[begin - 1] != '/')
    begin--;
  if (!path[begin] || is_dots(path + begin, strlen(path + begin)))
    return -EISDIR;
  long parent = make_directories((int)root, path, begin, 0755, way(op));
  if (parent < 0)
    return parent;
  long error = SYS(mknodat, parent, path + begin, S_IFREG | (op->a & 07777), 0);
  fd = error && error != -EEXIST ? error
       : open_below((int)parent, path + begin, O_PATH | O_NOFOLLOW, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
  shut(parent);
  return fill(op->slot, refuse_kinds(fd));
}

long op_mknod(const struct op *op)
{
  struct statx status;
  const char *name = bytes_at(op->s1);
  long dir = dir_fd(op->dir);
  if (dir == -EBADF)
    return dir;
  long made = SYS(mknodat, dir, name, op->a, op->b);
  if (made && made != -EEXIST)
    return made;
  long fd = open_below((int)dir, name, O_PATH | O_NOFOLLOW, 0, 0);
  if (fd < 0)
    return fd;
  long error = file_status((int)fd, &status);
  uint64_t device = (uint64_t)(status.stx_rdev_minor & 0xff) | (uint64_t)status.stx_rdev_major << 8
                    | (uint64_t)(status.stx_rdev_minor & ~0xffu) << 12;
  if (!error && ((status.stx_mode & S_IFMT) != (op->a & S_IFMT) || ((op->a & S_IFMT) != S_IFIFO && device != op->b)))
    error = -EEXIST;   /* something else has the name */
  if (!error)
    error = SYS(fchownat, fd, "", (uint32_t)op->c, (uint32_t)(op->c >> 32), AT_EMPTY_PATH);
  /* With umask 0 a node of ours has its mode; chmod by O_PATH descriptor needs Linux 6.6. */
  if (!error && (status.stx_mode & 07777) != (op->a & 07777)) {
    error = SYS(fchmodat2, fd, "", op->a & 07777, AT_EMPTY_PATH);
    error = error == -ENOSYS ? -EEXIST : error;
  }
  shut(fd);
  return error;
}

long op_symlink(const struct op *op)
{
  long dir = dir_fd(op->dir);
  if (dir == -EBADF)
    return dir;
  long error = SYS(symlinkat, bytes_at(op->s2), dir, bytes_at(op->s1));
  return error == -EEXIST ? 0 : error;
}

long op_chdir(const struct op *op)
{
  long error;
  if (op->a & 1) {
    /* HOST_CWD is the root only until a first CHDIR. */
    long root = open_below(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0, 0);
    long fd = root < 0 ? root : directory_below(root, bytes_at(op->s1), 0755, IN_ROOT);
    error = fd < 0 ? fd : SYS(fchdir, fd);
    shut(fd);
    shut(root);
  } else {
    error = SYS(chdir, bytes_at(op->s1));
  }
  if (error)
    return error;
  /* getcwd(2) says "(unreachable)..." for a directory outside the root; runc: CVE-2024-21626. */
  long length = SYS(getcwd, buffer, sizeof buffer);
  if (length < 0)
    return length;
  return buffer[0] == '/' ? 0 : -ENOENT;
}

/* The file an op writes or reads: s1 below dir, or the slot dir itself where s1 is empty. */
static long file_of(const struct op *op, uint64_t flags, uint64_t mode, uint64_t resolve)
{
  long dir = dir_fd(op->dir);
  if (dir == -EBADF)
    return dir;
  if (op->s1)
    return open_below((int)dir, bytes_at(op->s1), flags, mode, resolve);
  return dir < 0 ? -EBADF : SYS(fcntl, dir, F_DUPFD_CLOEXEC, 3);
}

long op_write(const struct op *op)
{
  long fd = file_of(op, O_WRONLY | O_NOFOLLOW | op->a, op->c, op->b);
  if (fd < 0)
    return fd;
  long wrote = SYS(write, fd, bytes_at(op->s2), length_at(op->s2));
  shut(fd);
  if (wrote < 0)
    return wrote;
  return (uint64_t)wrote == length_at(op->s2) ? 0 : -EIO;
}

long op_read(const struct op *op)
{
  uint64_t want = op->a < BUFFER_BYTES ? op->a : BUFFER_BYTES, have = 0;
  if (dir_fd(op->dir) == -EBADF)
    return -EBADF;
  long fd = file_of(op, O_RDONLY, 0, op->b), got = fd < 0 ? fd : 0;
  while (fd >= 0 && have < want) {
    got = SYS(read, fd, buffer + have, want - have);
    if (got <= 0)
      break;
    have += (uint64_t)got;
  }
  shut(fd);
  /* A file this kernel lacks, or will not show, is an answer too. */
  if (got < 0)
    have = 0;
  send_report(REPORT_DATA, got < 0 ? (int32_t)-got : 0, buffer, (uint32_t)have, -1);
  return 0;
}

long op_remove(const struct op *op)
{
  long dir = dir_fd(op->dir);
  return dir == -EBADF ? dir : SYS(unlinkat, dir, bytes_at(op->s1), op->a);
}

/* The image's /dev/null may be anything; runc: CVE-2025-31133. */
long op_check_null(const struct op *op)
{
  struct statx status;
  long fd = slot_fd(op->slot);
  long error = fd < 0 ? fd : file_status((int)fd, &status);
  if (error)
    return error;
  return (status.stx_mode & S_IFMT) == S_IFCHR && status.stx_rdev_major == 1 && status.stx_rdev_minor == 3
         ? 0 : -ENODEV;
}
