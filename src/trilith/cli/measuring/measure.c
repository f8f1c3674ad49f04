/*
 * What `trilith benchmark pillars` runs inside of guests, and as a bare process on their host: the same few bytes for
 * both, so that what differs is the pillar. No libc: it is handed to a guest as user data, and needs nothing there.
 *
 * Each command writes one line, `figure NAME SAMPLES P10 MEDIAN P90 MAX`, all times in nanoseconds, or
 * `failed NAME ERRNO` and ends with 1.
 *
 *   wake N MICROSECONDS          how late a thread runs after its timer's end, as cyclictest has it
 *   call ROUNDS N                one getppid(2), the mean of N in a row
 *   sync N PATH                  4 KiB into a file, on the disk when it returns (pwrite and fdatasync)
 *   stream ROUNDS MIB PATH       MIB mebibytes in a row, then fdatasync
 *   echo PORT | sink PORT        the other ends of the next two, for ever; `serves PORT` when it can be asked; port 0: a
 *                                free one
 *   rtt N ADDRESS PORT           32 bytes by UDP to `echo` and back
 *   send ROUNDS MIB ADDRESS PORT MIB mebibytes by TCP to `sink`, until it says that it has them
 *   hello                        one line
 */

typedef unsigned long u64;
typedef long i64;
typedef unsigned char u8;

#if !defined(__x86_64__)
#error "measure.c has the system calls of x86-64 only"
#endif

enum { READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, PWRITE64 = 18, SOCKET = 41, CONNECT = 42, ACCEPT = 43, SENDTO = 44,
       RECVFROM = 45, SHUTDOWN = 48, BIND = 49, LISTEN = 50, GETSOCKNAME = 51, SETSOCKOPT = 54, EXIT = 60, FSYNC = 74, FDATASYNC = 75,
       UNLINK = 87, GETPPID = 110, PRCTL = 157, CLOCK_GETTIME = 228, CLOCK_NANOSLEEP = 230 };

enum { MOST = 200000, CHUNK = 1 << 20, SMALL = 4096, DATAGRAM = 32 };

struct timespec { i64 seconds, nanoseconds; };
struct address { unsigned short family; u8 port[2], host[4], zero[8]; };

static u64 samples[MOST];
static u8 chunk[CHUNK];
static const char *name;

static i64 kernel(i64 number, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
    i64 result;
    register i64 r10 __asm__("r10") = d;
    register i64 r8 __asm__("r8") = e;
    register i64 r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* gcc may call these, also in a freestanding program */
void *memset(void *to, int value, u64 count)
{
    for (volatile u8 *p = to; count; count--)
        *p++ = (u8)value;
    return to;
}

void *memcpy(void *to, const void *from, u64 count)
{
    volatile u8 *p = to;
    for (const u8 *q = from; count; count--)
        *p++ = *q++;
    return to;
}

static u64 length(const char *text)
{
    u64 n = 0;
    while (text[n])
        n++;
    return n;
}

static char *put(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    return at;
}

static char *put_number(char *at, u64 value)
{
    char digits[20];
    int n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    *at++ = ' ';
    while (n)
        *at++ = digits[--n];
    return at;
}

static void tell_line(char *line, char *end)
{
    *end++ = '\n';
    kernel(WRITE, 1, (i64)line, end - line, 0, 0, 0); /* one write: a console keeps it together */
}

static void finish(char *line, char *end, int code)
{
    tell_line(line, end);
    kernel(EXIT, code, 0, 0, 0, 0, 0);
}

static void failed(i64 error)
{
    char line[120];
    finish(line, put_number(put(put(line, "failed "), name), (u64)(error < 0 ? -error : error)), 1);
}

static i64 must(i64 result)
{
    if (result < 0)
        failed(result);
    return result;
}

static u64 number(const char *text, u64 least, u64 most)
{
    u64 value = 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > most)
            failed(22);
        value = value * 10 + (u64)(*text - '0');
    }
    if (value < least || value > most)
        failed(22);
    return value;
}

static u64 now(void)
{
    struct timespec t;
    kernel(CLOCK_GETTIME, 1, (i64)&t, 0, 0, 0, 0); /* CLOCK_MONOTONIC */
    return (u64)t.seconds * 1000000000UL + (u64)t.nanoseconds;
}

/* nearest rank */
static u64 percentile(u64 count, u64 percent)
{
    u64 rank = (count * percent + 99) / 100;
    return samples[rank ? rank - 1 : 0];
}

static void tell(u64 count)
{
    char line[200], *at = put(put(line, "figure "), name);
    for (u64 gap = count / 2; gap; gap /= 2)
        for (u64 i = gap; i < count; i++)
            for (u64 j = i; j >= gap && samples[j - gap] > samples[j]; j -= gap) {
                u64 other = samples[j];
                samples[j] = samples[j - gap];
                samples[j - gap] = other;
            }
    at = put_number(at, count);
    at = put_number(put_number(put_number(at, percentile(count, 10)), percentile(count, 50)), percentile(count, 90));
    finish(line, put_number(at, samples[count - 1]), 0);
}

static void wake(u64 count, u64 interval)
{
    /* the default of 50 us for threads that are not of real time would be most of what is measured */
    must(kernel(PRCTL, 29, 1, 0, 0, 0, 0)); /* PR_SET_TIMERSLACK */
    u64 next = now() + interval;
    for (u64 i = 0; i < count; i++, next += interval) {
        struct timespec until = { (i64)(next / 1000000000UL), (i64)(next % 1000000000UL) };
        must(kernel(CLOCK_NANOSLEEP, 1, 1, (i64)&until, 0, 0, 0)); /* TIMER_ABSTIME */
        u64 woken = now();
        samples[i] = woken - next;
        while (next + interval <= woken)
            next += interval; /* so late that the next ones are missed: they are no samples */
    }
    tell(count);
}

static void call(u64 rounds, u64 count)
{
    for (u64 i = 0; i < rounds; i++) {
        u64 began = now();
        for (u64 n = 0; n < count; n++)
            kernel(GETPPID, 0, 0, 0, 0, 0, 0);
        samples[i] = (now() - began) / count;
    }
    tell(rounds);
}

/* bytes that no layer below can pack or leave out */
static void fill(void)
{
    u64 state = now() | 1;
    for (u64 i = 0; i < CHUNK; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        chunk[i] = (u8)state;
    }
}

static void put_all(i64 file, u64 bytes, u64 offset)
{
    for (u64 done = 0; done < bytes;)
        done += (u64)must(kernel(PWRITE64, file, (i64)(chunk + done), (i64)(bytes - done), (i64)(offset + done), 0, 0));
}

static i64 new_file(const char *path)
{
    fill();
    return must(kernel(OPEN, (i64)path, 0102 | 01000, 0600, 0, 0, 0)); /* O_RDWR O_CREAT O_TRUNC */
}

static void sync_writes(u64 count, const char *path)
{
    i64 file = new_file(path);
    put_all(file, CHUNK, 0);
    must(kernel(FSYNC, file, 0, 0, 0, 0, 0));
    for (u64 i = 0; i < count; i++) {
        u64 began = now();
        put_all(file, SMALL, i * 37 % (CHUNK / SMALL) * SMALL);
        must(kernel(FDATASYNC, file, 0, 0, 0, 0, 0));
        samples[i] = now() - began;
    }
    must(kernel(UNLINK, (i64)path, 0, 0, 0, 0, 0));
    tell(count);
}

static void stream(u64 rounds, u64 mebibytes, const char *path)
{
    i64 file = new_file(path);
    for (u64 i = 0; i < rounds; i++) {
        u64 began = now();
        for (u64 n = 0; n < mebibytes; n++)
            put_all(file, CHUNK, n * CHUNK);
        must(kernel(FDATASYNC, file, 0, 0, 0, 0, 0));
        samples[i] = now() - began;
    }
    must(kernel(UNLINK, (i64)path, 0, 0, 0, 0, 0));
    tell(rounds);
}

static struct address at(const char *host, u64 port)
{
    struct address to = { 2, { (u8)(port >> 8), (u8)port }, { 0 }, { 0 } };
    int part = 0, value = 0;
    for (; host; host++) {
        if (*host >= '0' && *host <= '9' && value * 10 + *host - '0' < 256) {
            value = value * 10 + *host - '0';
        } else if ((*host == '.' && part < 3) || (!*host && part == 3)) {
            to.host[part++] = (u8)value;
            value = 0;
            if (!*host)
                break;
        } else {
            failed(22);
        }
    }
    return to;
}

/* kind: 1 TCP, 2 UDP */
static i64 new_socket(int kind)
{
    i64 made = must(kernel(SOCKET, 2, kind, 0, 0, 0, 0));
    int on = 1;
    must(kernel(SETSOCKOPT, made, 1, 2, (i64)&on, sizeof on, 0)); /* SO_REUSEADDR */
    return made;
}

/* an answer that does not come within `seconds` is an error */
static void patient(i64 made, i64 seconds)
{
    i64 limit[2] = { seconds, 0 };
    must(kernel(SETSOCKOPT, made, 1, 20, (i64)limit, sizeof limit, 0)); /* SO_RCVTIMEO */
    must(kernel(SETSOCKOPT, made, 1, 21, (i64)limit, sizeof limit, 0)); /* SO_SNDTIMEO, which connect(2) heeds, too */
}

static void serves(i64 made)
{
    struct address here;
    int size = sizeof here;
    char line[40];
    must(kernel(GETSOCKNAME, made, (i64)&here, (i64)&size, 0, 0, 0));
    tell_line(line, put_number(put(line, "serves"), (u64)here.port[0] << 8 | here.port[1]));
}

static void echo(u64 port)
{
    struct address here = at((const char *)0, port), from;
    i64 made = new_socket(2);
    must(kernel(BIND, made, (i64)&here, sizeof here, 0, 0, 0));
    serves(made);
    for (;;) {
        int size = sizeof from;
        i64 got = kernel(RECVFROM, made, (i64)chunk, SMALL, 0, (i64)&from, (i64)&size);
        if (got > 0)
            kernel(SENDTO, made, (i64)chunk, got, 0, (i64)&from, size);
    }
}

static void sink(u64 port)
{
    struct address here = at((const char *)0, port);
    i64 made = new_socket(1);
    must(kernel(BIND, made, (i64)&here, sizeof here, 0, 0, 0));
    must(kernel(LISTEN, made, 4, 0, 0, 0, 0));
    serves(made);
    for (;;) {
        i64 peer = must(kernel(ACCEPT, made, 0, 0, 0, 0, 0));
        while (kernel(READ, peer, (i64)chunk, CHUNK, 0, 0, 0) > 0)
            ;
        kernel(WRITE, peer, (i64)"!", 1, 0, 0, 0);
        kernel(CLOSE, peer, 0, 0, 0, 0, 0);
    }
}

static void round_trips(u64 count, const char *host, u64 port)
{
    enum { WARM = 20, LOST = 50 };
    struct address to = at(host, port);
    i64 made = new_socket(2);
    u64 lost = 0;
    patient(made, 1);
    must(kernel(CONNECT, made, (i64)&to, sizeof to, 0, 0, 0));
    for (u64 i = 0; i < count + WARM;) {
        u64 began = now();
        *(u64 *)chunk = i;
        kernel(SENDTO, made, (i64)chunk, DATAGRAM, 0, 0, 0);
        i64 got = kernel(RECVFROM, made, (i64)(chunk + DATAGRAM), DATAGRAM, 0, 0, 0);
        /* one that comes late answers an earlier question */
        if (got != DATAGRAM || *(u64 *)(chunk + DATAGRAM) != i) {
            if (++lost > LOST)
                failed(got < 0 ? got : -110);
            continue;
        }
        if (i >= WARM)
            samples[i - WARM] = now() - began;
        i++;
    }
    tell(count);
}

static void send(u64 rounds, u64 mebibytes, const char *host, u64 port)
{
    struct address to = at(host, port);
    fill();
    for (u64 i = 0; i < rounds; i++) {
        i64 made = new_socket(1);
        patient(made, 60);
        must(kernel(CONNECT, made, (i64)&to, sizeof to, 0, 0, 0));
        u64 began = now();
        for (u64 left = mebibytes * CHUNK; left;)
            left -= (u64)must(kernel(WRITE, made, (i64)chunk, left < CHUNK ? (i64)left : CHUNK, 0, 0, 0));
        must(kernel(SHUTDOWN, made, 1, 0, 0, 0, 0));
        if (must(kernel(READ, made, (i64)chunk, 1, 0, 0, 0)) != 1)
            failed(104);
        samples[i] = now() - began;
        kernel(CLOSE, made, 0, 0, 0, 0, 0);
    }
    tell(rounds);
}

static int is(const char *other)
{
    u64 n = length(other);
    for (u64 i = 0; i <= n; i++)
        if (name[i] != other[i])
            return 0;
    return 1;
}

__attribute__((used)) void start(u64 *stack)
{
    u64 count = stack[0];
    char **words = (char **)(stack + 1);
    name = count > 1 ? words[1] : "nothing";
    if (length(name) > 60)
        name = "that";
    if (count == 4 && is("wake"))
        wake(number(words[2], 1, MOST), number(words[3], 1, 1000000) * 1000);
    if (count == 4 && is("call"))
        call(number(words[2], 1, MOST), number(words[3], 1, 100000000));
    if (count == 4 && is("sync"))
        sync_writes(number(words[2], 1, MOST), words[3]);
    if (count == 5 && is("stream"))
        stream(number(words[2], 1, MOST), number(words[3], 1, 1 << 20), words[4]);
    if (count == 3 && is("echo"))
        echo(number(words[2], 0, 65535));
    if (count == 3 && is("sink"))
        sink(number(words[2], 0, 65535));
    if (count == 5 && is("rtt"))
        round_trips(number(words[2], 1, MOST), words[3], number(words[4], 1, 65535));
    if (count == 6 && is("send"))
        send(number(words[2], 1, MOST), number(words[3], 1, 1 << 20), words[4], number(words[5], 1, 65535));
    if (count == 2 && is("hello")) {
        char line[8];
        finish(line, put(line, "hello"), 0);
    }
    failed(22);
}

__asm__(".globl _start\n_start:\n xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call start\n hlt\n");
