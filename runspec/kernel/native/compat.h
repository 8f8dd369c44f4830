/* Constants that Debian 12's kernel headers (6.1) or the C library's headers lack, each with where it
 * is written down. A newer header wins. */
#ifndef RUNSPEC_COMPAT_H
#define RUNSPEC_COMPAT_H

#ifndef MNT_DETACH
#define MNT_DETACH 2                  /* umount(2); in no uapi header, and sys/mount.h clashes with linux/mount.h */
#endif
#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8             /* umount(2) */
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x10U                /* memfd_create(2), Linux 6.3, commit 105ff5339f49 */
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U       /* memfd_create(2), Linux 6.3, commit 105ff5339f49 */
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20              /* fcntl(2), Linux 6.3, commit 6fd7353829ca */
#endif
#ifndef __NR_fchmodat2
#define __NR_fchmodat2 452            /* fchmodat2(2), Linux 6.6, commit 09da082b07bb; one number everywhere */
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)       /* landlock(7), ABI 3, Linux 6.2 */
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP
#define LANDLOCK_ACCESS_NET_BIND_TCP (1ULL << 0)       /* landlock(7), ABI 4, Linux 6.7 */
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (1ULL << 1)
#define LANDLOCK_RULE_NET_PORT 2
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)      /* landlock(7), ABI 5, Linux 6.10 */
#endif
#ifndef LANDLOCK_SCOPE_SIGNAL
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)  /* landlock(7), ABI 6, Linux 6.12 */
#define LANDLOCK_SCOPE_SIGNAL (1ULL << 1)
#endif
#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6    /* set_mempolicy(2), Linux 6.9 */
#endif
#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200 /* Linux 6.5, commit 6ac392815628 */
#endif
#endif
