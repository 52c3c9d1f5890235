/* A QEMU plugin that counts what a MetaOS image executes, and who executes it.
 *
 *   gcc -shared -fPIC -O2 -Wall -Wextra -o qemu_counter.so qemu_counter.c
 *   qemu-system-x86_64 -accel tcg -plugin \
 *       ./qemu_counter.so,out=FILE,phases=FILE,loader_end=N,code_start=N,code_end=N,accesses=on ...
 *
 * The loader is what runs from 0x7C00 up to `loader_end`; the phases lie in the linear addresses
 * `code_start` to `code_end`, at whose end every phase's code ends.
 * `phases` describes the image's straight lines, one after the other:
 *   u32 length, u32 flags (1: the steady phase), then `length` bytes of code.
 * Phases share their linear addresses, so an instruction belongs to the phase that has the
 * very bytes of its translated block at that distance from the end.
 * Where several have (the last `jmp` of two phases of one length), the first is charged.
 *
 * `out` is a shared file of little-endian u64, readable while the guest runs:
 *   [0]  magic            [1]  first address of the boot sector was executed (0 or more times)
 *   [2]  steady turns     [3]  number of phases
 *   [4]  time in ns (CLOCK_MONOTONIC) of the first instruction of the boot sector
 *   [5]  the same, of the first steady turn
 *   [6]  the number of changes of what is at [8], odd during one
 *   from [8]: the steady phase's counter as it was when its latest turn began, so that the
 *   difference of two is one of whole turns;
 *   from [15]: counters of seven words {instructions, conditional branches, turns, reads and
 *   writes of device memory, IN or INS executed, OUT or OUTS executed}:
 *   0 firmware before the boot sector, 1 firmware called by the loader, 2 loader,
 *   3 code region but of no phase (must stay 0), 4 elsewhere after the hand-over (must stay 0),
 *   5+i phase i.
 *
 * A repeated string instruction of n iterations counts n + 1 times, and once if n is 0: QEMU's
 * translator goes back to the instruction after each iteration, and the last time only sees
 * that the count is 0 (tests/benchmarks/test_counter.py).
 * An interrupt that the firmware takes while the loader runs is counted as firmware.
 *
 * With `everything=on` there are no owners: the counter 0 has all instructions and branches of the
 * guest from its reset on, whatever it is.
 *
 * Device accesses are those of the phases, and counted with `accesses=on` only, since every access
 * to memory then calls back. QEMU says of each whether it reached a device or RAM.
 *
 * QEMU's plugin interface, version 1 (QEMU 4.2 to 8.2), docs/devel/tcg-plugins.rst. Debian ships
 * no header, so the few prototypes are declared here.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct {
    const char *target_name;
    struct { int min, cur; } version;
    int system_emulation;
    int smp_vcpus, max_vcpus;
} qemu_info_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_mem_rw { QEMU_PLUGIN_MEM_R = 1, QEMU_PLUGIN_MEM_W, QEMU_PLUGIN_MEM_RW };
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_hwaddr;
typedef void (*tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*udata_cb)(unsigned int, void *);
typedef void (*mem_cb)(unsigned int, qemu_plugin_meminfo_t, uint64_t, void *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_trans_cb);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *,
                                                       enum qemu_plugin_op, void *, uint64_t);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, udata_cb,
                                                   enum qemu_plugin_cb_flags, void *);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, mem_cb,
                                             enum qemu_plugin_cb_flags, enum qemu_plugin_mem_rw,
                                             void *);
extern struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t, uint64_t);
extern _Bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *);
extern _Bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

#define MAGIC 0x31544e434d455451ull
#define SECTOR 0x7C00ull
#define MAX_PHASES 16
#define OWNERS (5 + MAX_PHASES)
enum { BEFORE, FIRMWARE, LOADER, STRAY, OUTSIDE, FIRST_PHASE };

struct counter { uint64_t instructions, branches, turns, reads, writes, port_reads, port_writes; };
struct shared {
    uint64_t magic, started, steady_turns, phases, started_ns, steady_ns, changes, spare;
    struct counter settled, owner[OWNERS];
};

static struct shared *shared;
static struct { uint32_t length, flags; const uint8_t *code; } phase[MAX_PHASES];
static uint64_t loader_end = 0x10000, code_start = 0x400000, code_end = 0x600000;
static int accesses, everything;
static int stage; /* 0 before the boot sector, 1 loader, 2 after the hand-over */

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Where an instruction's opcode begins.
 * In 64-bit mode 0x40-0x4F are REX; in the other modes they are one-byte INC and DEC, so that
 * skipping one never reaches another opcode within the same instruction. */
static size_t opcode(const uint8_t *d, size_t n) {
    size_t i = 0;
    while (i < n && (d[i] == 0x66 || d[i] == 0x67 || d[i] == 0xF2 || d[i] == 0xF3 ||
                     d[i] == 0x2E || d[i] == 0x36 || d[i] == 0x3E || d[i] == 0x26 ||
                     d[i] == 0x64 || d[i] == 0x65 || d[i] == 0xF0))
        i++;
    return i < n && (d[i] & 0xF0) == 0x40 ? i + 1 : i;
}

/* Jcc rel8 and rel32, LOOPcc, JRCXZ. Intel SDM vol. 2, appendix A, tables. */
static int conditional(const uint8_t *d, size_t n) {
    size_t i = opcode(d, n);
    if (i >= n) return 0;
    if ((d[i] & 0xF0) == 0x70 || (d[i] >= 0xE0 && d[i] <= 0xE3)) return 1;
    return d[i] == 0x0F && i + 1 < n && (d[i + 1] & 0xF0) == 0x80;
}

/* IN and INS: 1, OUT and OUTS: 2. The same table: 0xE4-E7, 0xEC-EF, 0x6C-6F. */
static int port(const uint8_t *d, size_t n) {
    size_t i = opcode(d, n);
    if (i >= n || ((d[i] & 0xF4) != 0xE4 && (d[i] & 0xFC) != 0x6C)) return 0;
    return d[i] & 2 ? 2 : 1;
}

static void on_access(unsigned int cpu, qemu_plugin_meminfo_t info, uint64_t at, void *data) {
    struct counter *c = data;
    const struct qemu_plugin_hwaddr *place = qemu_plugin_get_hwaddr(info, at);
    (void)cpu;
    if (!place || !qemu_plugin_hwaddr_is_io(place)) return;
    if (qemu_plugin_mem_is_store(info))
        c->writes++;
    else
        c->reads++;
}

static void on_sector(unsigned int cpu, void *data) {
    (void)cpu, (void)data;
    if (!shared->started++) {
        shared->started_ns = now();
        stage = 1;
    }
}

static void on_turn(unsigned int cpu, void *data) {
    (void)cpu;
    uintptr_t i = (uintptr_t)data;
    stage = 2;
    shared->owner[FIRST_PHASE + i].turns++;
    if (!(phase[i].flags & 1)) return;
    if (!shared->steady_turns++) shared->steady_ns = now();
    __atomic_add_fetch(&shared->changes, 1, __ATOMIC_SEQ_CST);
    shared->settled = shared->owner[FIRST_PHASE + i];
    __atomic_add_fetch(&shared->changes, 1, __ATOMIC_SEQ_CST);
}

/* Code outside the phases is charged as it is executed, by `stage`: the same bytes at one place may
 * run in several (the firmware's interrupt handlers before, during and after the loader). */
static void on_other(unsigned int cpu, void *data) {
    (void)cpu;
    uintptr_t bits = (uintptr_t)data; /* bit 0: conditional branch; bit 1: in the loader */
    unsigned owner = stage == 0 ? BEFORE : stage == 2 ? OUTSIDE : bits & 2 ? LOADER : FIRMWARE;
    shared->owner[owner].instructions++;
    shared->owner[owner].branches += bits & 1;
}

/* The phase that has these bytes at this distance from the end; -1 if none. The four
 * bytes that the loader or a relocation could change do not exist: code is never patched. */
static int phase_of(uint64_t vaddr, const uint8_t *data, size_t size) {
    for (unsigned i = 0; i < shared->phases; i++) {
        uint64_t from_end = code_end - vaddr;
        if (from_end > phase[i].length || size > from_end) continue;
        if (!memcmp(phase[i].code + phase[i].length - from_end, data, size)) return (int)i;
    }
    return -1;
}

/* The phase of a whole translated block, judged by all of its bytes. */
static int block_phase(struct qemu_plugin_tb *tb) {
    uint8_t bytes[8192];
    size_t n = qemu_plugin_tb_n_insns(tb), used = 0;
    uint64_t start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *x = qemu_plugin_tb_get_insn(tb, i);
        size_t size = qemu_plugin_insn_size(x);
        if (used + size > sizeof bytes) break;
        memcpy(bytes + used, qemu_plugin_insn_data(x), size);
        used += size;
    }
    return phase_of(start, bytes, used);
}

static void count_accesses(struct qemu_plugin_insn *x, struct counter *c) {
    int kind = port(qemu_plugin_insn_data(x), qemu_plugin_insn_size(x));
    if (kind)
        qemu_plugin_register_vcpu_insn_exec_inline(
            x, QEMU_PLUGIN_INLINE_ADD_U64, kind == 1 ? &c->port_reads : &c->port_writes, 1);
    qemu_plugin_register_vcpu_mem_cb(x, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, c);
}

static void count_everything(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    struct counter *c = &shared->owner[BEFORE];
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *x = qemu_plugin_tb_get_insn(tb, i);
        qemu_plugin_register_vcpu_insn_exec_inline(x, QEMU_PLUGIN_INLINE_ADD_U64,
                                                   &c->instructions, 1);
        if (conditional(qemu_plugin_insn_data(x), qemu_plugin_insn_size(x)))
            qemu_plugin_register_vcpu_insn_exec_inline(x, QEMU_PLUGIN_INLINE_ADD_U64,
                                                       &c->branches, 1);
    }
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(tb);
    uint64_t first = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    int known = first >= code_start && first < code_end ? block_phase(tb) : -2;
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *x = qemu_plugin_tb_get_insn(tb, i);
        uint64_t at = qemu_plugin_insn_vaddr(x);
        uint64_t branch = (uint64_t)conditional(qemu_plugin_insn_data(x), qemu_plugin_insn_size(x));
        if (at == SECTOR)
            qemu_plugin_register_vcpu_insn_exec_cb(x, on_sector, QEMU_PLUGIN_CB_NO_REGS, NULL);
        if (known < 0 && !(known == -1 && stage == 2)) {
            uintptr_t loader = at >= SECTOR && at < loader_end ? 2 : 0;
            qemu_plugin_register_vcpu_insn_exec_cb(x, on_other, QEMU_PLUGIN_CB_NO_REGS,
                                                   (void *)(branch | loader));
            continue;
        }
        struct counter *c = &shared->owner[known < 0 ? STRAY : FIRST_PHASE + known];
        qemu_plugin_register_vcpu_insn_exec_inline(x, QEMU_PLUGIN_INLINE_ADD_U64,
                                                   &c->instructions, 1);
        if (branch)
            qemu_plugin_register_vcpu_insn_exec_inline(x, QEMU_PLUGIN_INLINE_ADD_U64,
                                                       &c->branches, 1);
        if (accesses) count_accesses(x, c);
        if (known >= 0 && at == code_end - phase[known].length)
            qemu_plugin_register_vcpu_insn_exec_cb(x, on_turn, QEMU_PLUGIN_CB_NO_REGS,
                                                   (void *)(uintptr_t)known);
    }
}

static int read_phases(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) || info.st_size == 0) return -1;
    const uint8_t *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED) return -1;
    const uint8_t *end = p + info.st_size;
    while (end - p >= 8 && shared->phases < MAX_PHASES) {
        uint32_t head[2];
        memcpy(head, p, 8);
        p += 8;
        if (head[0] > (size_t)(end - p)) return -1;
        phase[shared->phases].length = head[0];
        phase[shared->phases].flags = head[1];
        phase[shared->phases++].code = p;
        p += head[0];
    }
    return p == end ? 0 : -1;
}

__attribute__((visibility("default"))) int
qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    (void)info;
    const char *out = NULL, *phases = NULL;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "out=", 4)) out = argv[i] + 4;
        if (!strncmp(argv[i], "phases=", 7)) phases = argv[i] + 7;
        if (!strncmp(argv[i], "loader_end=", 11)) loader_end = strtoull(argv[i] + 11, NULL, 0);
        if (!strncmp(argv[i], "code_start=", 11)) code_start = strtoull(argv[i] + 11, NULL, 0);
        if (!strncmp(argv[i], "code_end=", 9)) code_end = strtoull(argv[i] + 9, NULL, 0);
        if (!strcmp(argv[i], "accesses=on")) accesses = 1;
        if (!strcmp(argv[i], "everything=on")) everything = 1;
    }
    if (!out) {
        fprintf(stderr, "qemu_counter: needs out=FILE\n");
        return -1;
    }
    int fd = open(out, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || ftruncate(fd, 4096)) {
        perror("qemu_counter: out");
        return -1;
    }
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared == MAP_FAILED) return -1;
    shared->magic = MAGIC;
    if (phases && read_phases(phases)) {
        fprintf(stderr, "qemu_counter: cannot read phases from %s\n", phases);
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, everything ? count_everything : translated);
    return 0;
}
