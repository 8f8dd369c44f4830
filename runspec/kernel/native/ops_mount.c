/* Ops on mounts, by the descriptor-based calls of Linux 5.2 and 5.12: no path is resolved twice, so
 * no target can be swapped between check and mount (runc: CVE-2021-30465). */
#include <linux/mount.h>
#include "init.h"

#define BOTH_BY_FD (MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)

static long move_onto(long mount, long target)
{
  return SYS(move_mount, mount, "", target, "", BOTH_BY_FD);
}

static long clone_tree(long fd, unsigned int flags)
{
  return SYS(open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | flags);
}

static long set_attributes(long fd, unsigned int flags, struct mount_attr *attributes)
{
  return SYS(mount_setattr, fd, "", AT_EMPTY_PATH | flags, attributes, sizeof *attributes);
}

long op_open_tree(const struct op *op)
{
  long dir = dir_fd(op->dir);
  if (dir == -EBADF)
    return dir;
  return fill(op->slot, SYS(open_tree, dir, bytes_at(op->s1),
                            op->a | OPEN_TREE_CLOEXEC | (op->s1 ? 0 : AT_EMPTY_PATH)));
}

long op_fsopen(const struct op *op)
{
  return fill(op->slot, SYS(fsopen, bytes_at(op->s1), FSOPEN_CLOEXEC));
}

long op_fsconfig(const struct op *op)
{
  long fd = slot_fd(op->slot), extra = 0;
  if (fd < 0)
    return fd;
  if (op->a == FSCONFIG_SET_FD || op->a == FSCONFIG_SET_PATH || op->a == FSCONFIG_SET_PATH_EMPTY) {
    extra = dir_fd(op->dir);
    if (extra == -EBADF)
      return extra;
  }
  /* The kernel wants null pointers, not empty strings, where a command takes no key or value; an empty
   * value of SET_STRING is a value. */
  const char *value = op->s2 || op->a == FSCONFIG_SET_STRING ? bytes_at(op->s2) : 0;
  return SYS(fsconfig, fd, op->a, op->s1 ? bytes_at(op->s1) : 0, value, extra);
}

long op_fsmount(const struct op *op)
{
  long context = slot_fd(op->dir);
  return context < 0 ? context : fill(op->slot, SYS(fsmount, context, FSMOUNT_CLOEXEC, op->a));
}

long op_mount_setattr(const struct op *op)
{
  struct mount_attr attributes = {.attr_set = op->a, .attr_clr = op->b, .propagation = op->c};
  long fd = slot_fd(op->slot);
  if (fd < 0)
    return fd;
  if (op->dir >= 0 && (op->a & MOUNT_ATTR_IDMAP)) {
    long userns = slot_fd(op->dir);
    if (userns < 0)
      return userns;
    attributes.userns_fd = (uint64_t)userns;
  }
  return set_attributes(fd, op->pad & 1 ? AT_RECURSIVE : 0, &attributes);
}

long op_move_mount(const struct op *op)
{
  long mount = slot_fd(op->slot), target = slot_fd(op->dir);
  if (mount < 0 || target < 0)
    return -EBADF;
  return move_onto(mount, target);
}

long op_pivot(const struct op *op)
{
  long fd = slot_fd(op->slot);
  long error = fd < 0 ? fd : SYS(fchdir, fd);
  /* pivot_root(2), "pivot_root(".", ".")": the old root lands on top of the new one, no directory needed. */
  if (!error)
    error = SYS(pivot_root, ".", ".");
  if (!error)
    error = SYS(umount2, ".", MNT_DETACH);
  return error ? error : SYS(chdir, "/");
}

static long empty_tmpfs(void)
{
  long context = SYS(fsopen, "tmpfs", FSOPEN_CLOEXEC);
  if (context < 0)
    return context;
  long error = SYS(fsconfig, context, FSCONFIG_SET_FLAG, "ro", 0, 0);
  if (!error)
    error = SYS(fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
  if (!error)
    error = SYS(fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  shut(context);
  return error;
}

static int missing(long error) { return error == -ENOENT || error == -ENOTDIR; }

static long cover_directory(long target)
{
  /* One tmpfs serves all masks; a clone of a mount that is in place costs a third of a new one. */
  static long first = -1;
  long mount = first < 0 ? -EBADF : clone_tree(first, 0);
  int fresh = mount < 0;
  if (fresh)
    mount = empty_tmpfs();
  if (mount < 0)
    return mount;
  long error = move_onto(mount, target);
  if (fresh && !error) {
    shut(first);
    first = mount;
  } else {
    shut(mount);
  }
  return error;
}

static long cover_file(long null, long target)
{
  long mount = null < 0 ? null : clone_tree(null, 0);
  if (mount < 0)
    return mount;
  /* The node is the host's: read-only, or root inside could change its mode and owner through the mask. */
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};
  long error = set_attributes(mount, 0, &attributes);
  if (!error)
    error = move_onto(mount, target);
  shut(mount);
  return error;
}

long op_mask(const struct op *op)
{
  struct statx status;
  long dir = dir_fd(op->dir);
  if (dir == -EBADF)
    return dir;
  long target = open_below((int)dir, bytes_at(op->s1), O_PATH, 0, IN_ROOT);
  if (target < 0)
    return missing(target) ? 0 : target;
  long error = file_status((int)target, &status);
  if (!error)
    error = (status.stx_mode & S_IFMT) == S_IFDIR ? cover_directory(target) : cover_file(slot_fd(op->slot), target);
  shut(target);
  return error;
}

long op_readonly(const struct op *op)
{
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  long dir = dir_fd(op->dir);
  if (dir == -EBADF)
    return dir;
  long target = open_below((int)dir, bytes_at(op->s1), O_PATH, 0, IN_ROOT);
  if (target < 0)
    return missing(target) ? 0 : target;
  /* What is mounted further below comes along and keeps its own flags, as in every other runtime. */
  long mount = clone_tree(target, AT_RECURSIVE);
  long error = mount < 0 ? mount : set_attributes(mount, 0, &attributes);
  if (!error)
    error = move_onto(mount, target);
  shut(mount);
  shut(target);
  return error;
}

/* A descriptor of the mount itself would keep it busy, and /proc may be the image's: so the parent is
 * entered and the plain last name unmounted, not followed. */
long op_umount(const struct op *op)
{
  static char parent[4096];
  const char *path = bytes_at(op->s1);
  size_t end = strlen(path), begin;
  long dir = dir_fd(op->dir), before, fd, error;
  if (dir == -EBADF)
    return dir;
  while (end && path[end - 1] == '/')
    end--;
  for (begin = end; begin && path[begin - 1] != '/'; begin--)
    ;
  if (begin == end)
    return -EINVAL;
  memcpy(parent, path, begin);
  memcpy(parent + begin, ".", 2);
  before = open_below(AT_FDCWD, ".", O_PATH | O_DIRECTORY, 0, 0);
  if (before < 0)
    return before;
  fd = open_below((int)dir, parent, O_PATH | O_DIRECTORY, 0, IN_ROOT | RESOLVE_NO_SYMLINKS);
  error = fd < 0 ? fd : SYS(fchdir, fd);
  if (!error) {
    memcpy(parent, path + begin, end - begin);
    parent[end - begin] = '\0';
    error = SYS(umount2, parent, op->a | UMOUNT_NOFOLLOW);
    if (error == -EBUSY && (op->b & 1)) {
      send_report(REPORT_DATA, EBUSY, 0, 0, -1);
      error = SYS(umount2, parent, MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    long back = SYS(fchdir, before);
    error = error ? error : back;
  }
  shut(fd);
  shut(before);
  return error;
}

long op_fspick(const struct op *op)
{
  long dir = dir_fd(op->dir);
  if (dir == -EBADF)
    return dir;
  long fd = open_below((int)dir, bytes_at(op->s1), O_PATH, 0, IN_ROOT | RESOLVE_NO_SYMLINKS);
  long context = fd < 0 ? fd : SYS(fspick, fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
  shut(fd);
  return fill(op->slot, context);
}
