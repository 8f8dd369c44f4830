/* Ops that make a process its terminal, in the container's own devpts: pty(7), tty_ioctl(4). */
#include <asm/ioctls.h>
#include <asm/statfs.h>
#include <asm/termbits.h>
#include <asm/termios.h>
#include <linux/magic.h>
#include "init.h"

#define PTMX_INODE 2
#define PTMX_MAJOR 5
#define PTMX_MINOR 2
#define SLAVE_MAJOR 136         /* and the seven after it, devices.txt */

/* Of the image's making there may be anything at these names; runc: CVE-2025-52565. */
static long check_devpts(long fd, struct statx *status)
{
  struct statfs system;
  long error = SYS(fstatfs, fd, &system);
  if (!error && system.f_type != DEVPTS_SUPER_MAGIC)
    error = -ENODEV;
  if (!error)
    error = file_status((int)fd, status);
  if (!error && (status->stx_mode & S_IFMT) != S_IFCHR)
    error = -ENODEV;
  return error;
}

long op_terminal(const struct op *op)
{
  struct statx status;
  int unlocked = 0;
  long master = slot_fd(op->dir);
  long error = master < 0 ? master : check_devpts(master, &status);
  if (!error && (status.stx_ino != PTMX_INODE || status.stx_rdev_major != PTMX_MAJOR
                 || status.stx_rdev_minor != PTMX_MINOR))
    error = -ENODEV;
  if (!error)
    error = SYS(ioctl, master, TIOCSPTLCK, &unlocked);
  if (error)
    return error;
  /* By the master itself, not by a name of which the image may have made something else. */
  long slave = SYS(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0)
    return slave;
  error = check_devpts(slave, &status);
  if (!error && (status.stx_rdev_major < SLAVE_MAJOR || status.stx_rdev_major > SLAVE_MAJOR + 7))
    error = -ENODEV;
  if (!error && op->a) {
    struct winsize size = {.ws_row = (unsigned short)op->a, .ws_col = (unsigned short)(op->a >> 16)};
    error = SYS(ioctl, slave, TIOCSWINSZ, &size);
  }
  if (!error)
    error = SYS(fchown, slave, (uint32_t)op->b, -1);
  if (error) {
    shut(slave);
    return error;
  }
  return fill(op->slot, slave);
}

long op_control_tty(const struct op *op)
{
  long fd = slot_fd(op->slot);
  return fd < 0 ? fd : SYS(ioctl, fd, TIOCSCTTY, 0);
}
