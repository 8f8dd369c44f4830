/* Ops on how a process runs: its scheduling, its memory policy, its personality, its Landlock rules. */
#include <linux/ioprio.h>
#include <linux/landlock.h>
#include "init.h"

#define SMALLEST_SCHED_ATTR 48

/* compat.h's struct for ports; the headers of Debian 12 know files only. */
struct port_rule { uint64_t access, port; };
struct ruleset { uint64_t fs, net, scoped; };

long op_scheduler(const struct op *op)
{
  uint32_t size;
  if (length_at(op->s1) < SMALLEST_SCHED_ATTR)
    return -EINVAL;
  memcpy(&size, bytes_at(op->s1), sizeof size);   /* the kernel reads as much as it says */
  return size > length_at(op->s1) ? -EINVAL : SYS(sched_setattr, 0, bytes_at(op->s1), 0);
}

long op_io_priority(const struct op *op) { return SYS(ioprio_set, IOPRIO_WHO_PROCESS, 0, op->a); }

long op_affinity(const struct op *op) { return SYS(sched_setaffinity, 0, length_at(op->s1), bytes_at(op->s1)); }

long op_personality(const struct op *op)
{
  long before = SYS(personality, op->a);
  return before < 0 ? before : 0;
}

long op_memory_policy(const struct op *op)
{
  /* set_mempolicy(2) looks at one bit less than it is told. */
  return SYS(set_mempolicy, op->a, op->s1 ? bytes_at(op->s1) : 0, op->s1 ? length_at(op->s1) * 8 + 1 : 0);
}

long op_landlock(const struct op *op)
{
  struct ruleset rules = {op->a, op->b, op->c};   /* an older kernel takes longer structs that end in zeros */
  return fill(op->slot, SYS(landlock_create_ruleset, &rules, sizeof rules, 0));
}

long op_landlock_path(const struct op *op)
{
  struct statx status;
  long rules = slot_fd(op->slot), root = dir_fd(op->dir);
  if (rules < 0 || root == -EBADF)
    return -EBADF;
  long fd = open_below((int)root, bytes_at(op->s1), O_PATH, 0, IN_ROOT);
  long error = fd < 0 ? fd : file_status((int)fd, &status);
  struct landlock_path_beneath_attr rule = {.allowed_access = op->a, .parent_fd = (int)fd};
  if (!error && (status.stx_mode & S_IFMT) != S_IFDIR)
    rule.allowed_access &= op->b;   /* the kernel refuses a directory's rights on a file */
  if (!error && rule.allowed_access)
    error = SYS(landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
  shut(fd);
  return error;
}

long op_landlock_port(const struct op *op)
{
  struct port_rule rule = {op->b, op->a};
  long rules = slot_fd(op->slot);
  return rules < 0 ? rules : SYS(landlock_add_rule, rules, LANDLOCK_RULE_NET_PORT, &rule, 0);
}

long op_landlock_restrict(const struct op *op)
{
  long rules = slot_fd(op->slot);
  return rules < 0 ? rules : SYS(landlock_restrict_self, rules, 0);
}
