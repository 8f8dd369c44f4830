/* System calls without a C library: SYS(name, arguments...) returns what the kernel returns, an
 * error as -errno. The interpreter has no start-up code, no errno and no wrappers; the wrappers for
 * setresuid(2) and friends would signal threads, nptl(7), which is why raw calls are right here. */
#ifndef RUNSPEC_SYS_H
#define RUNSPEC_SYS_H
#include <asm/unistd.h>

static inline long sys_call(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall" : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
  return x0;
#else
#error "runspec knows the system calls of x86_64 and aarch64 only"
#endif
}

#define SYS(name, ...) SYS_PAD(__NR_##name, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_PAD(number, a, b, c, d, e, f, ...) \
  sys_call((number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#endif
