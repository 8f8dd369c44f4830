/* Sleeps again and again until a given moment and tells how late it woke: percentiles in microseconds, as JSON.

   wakeup MILLISECONDS: how long to go on; a wake-up is due each millisecond. clock_nanosleep(2). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { STEP = 1000000, SECOND = 1000000000 };

static int compare(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 1000, done = 0;
    long *late = count > 0 ? calloc((size_t)count, sizeof *late) : NULL;
    struct timespec due, now;

    if (late == NULL)
        return 2;
    mlockall(MCL_CURRENT | MCL_FUTURE);     /* without the right for it, page faults are part of what is measured */
    clock_gettime(CLOCK_MONOTONIC, &due);
    while (done < count) {
        due.tv_nsec += STEP;
        if (due.tv_nsec >= SECOND) {
            due.tv_nsec -= SECOND;
            due.tv_sec++;
        }
        if (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0)
            return 1;
        clock_gettime(CLOCK_MONOTONIC, &now);
        late[done++] = (now.tv_sec - due.tv_sec) * SECOND + now.tv_nsec - due.tv_nsec;
        if (now.tv_sec - due.tv_sec > 5)    /* not one of them: somebody took the processor away altogether */
            due = now;
    }
    qsort(late, (size_t)done, sizeof *late, compare);
    printf("{\"count\": %ld, \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}\n", done, late[done / 2] / 1e3,
           late[done * 99 / 100] / 1e3, late[done - 1] / 1e3);
    return 0;
}
