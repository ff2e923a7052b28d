/* A driver to test against: NVML's calls, answered from a text file that may change at any time.
 *
 * GPUMEDIC_LAB_NVML names the file; scenario.py says what may be in it. A value that the file does
 * not have is "not supported". The numbers of errors and the layouts of structures are those that
 * nvidia-ml-py declares. Names are NVML's, less their prefix, which CALL adds.
 */
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OK, UNINITIALIZED, INVALID, UNSUPPORTED, TOO_SMALL = 7, NO_DRIVER = 9, TIMED_OUT = 10, NOT_FOUND = 6 };
enum { GPUS = 8, ENTRIES = 320, FAULTS = 64, EVENTS = 1024, INSTANCES = 7, CALLS = 128, KEY = 24, TEXT = 64 };

typedef struct { char key[KEY], text[TEXT]; unsigned scope; int64_t value, rise; } entry;
typedef struct gpu { int index, instance; int entries; entry entry[ENTRIES]; } gpu; /* instance: of MIG, else -1 */
typedef gpu *device;
typedef struct { int gpu, hangs, code; char call[64]; } fault;
typedef struct { int gpu; uint64_t type, data; } event;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static gpu gpus[GPUS], parts[GPUS][INSTANCES];
static gpu changed[GPUS], risen[GPUS]; /* what was set by a call, and how far values have risen */
static fault faults[FAULTS];
static event events[EVENTS];
static struct { char name[64]; unsigned count; } calls[CALLS];
static int count, n_faults, n_events, taken, users, generation, present;
static char driver[TEXT], played[4096];
static struct stat seen;

static entry *find(gpu *of, const char *key, unsigned scope) {
	for (int i = 0; i < of->entries; i++)
		if (of->entry[i].scope == scope && !strcmp(of->entry[i].key, key)) return &of->entry[i];
	return NULL;
}

static void put(gpu *of, const char *key, unsigned scope, const char *text) {
	entry *at = find(of, key, scope);
	if (!at) {
		if (of->entries == ENTRIES) return;
		at = &of->entry[of->entries++];
	}
	snprintf(at->key, KEY, "%s", key);
	snprintf(at->text, TEXT, "%s", text);
	at->scope = scope;
	at->value = strtoll(text, NULL, 0);
	at->rise = *text == '+' ? at->value : 0;
}

static void of_gpu(int index, char *key, char *rest) {
	char first[TEXT] = "", second[TEXT] = "", name[KEY];
	sscanf(rest, "%63s %63s", first, second);
	if (!strcmp(key, "fails") || !strcmp(key, "hangs")) {
		if (n_faults == FAULTS) return;
		fault *at = &faults[n_faults++];
		*at = (fault){.gpu = index, .hangs = *key == 'h', .code = atoi(second)};
		snprintf(at->call, sizeof at->call, "%.63s", first);
	} else if (!strcmp(key, "event")) {
		if (n_events < EVENTS)
			events[n_events++] = (event){index, strtoull(first, NULL, 0), strtoull(second, NULL, 0)};
	} else if (!strcmp(key, "field")) {
		unsigned id = 0, from = 0, to = 0; /* id, id.scope or id.from-to */
		if (sscanf(first, "%u.%u-%u", &id, &from, &to) < 3) to = from;
		snprintf(name, sizeof name, "%u", id);
		for (; from <= to; from++) put(&gpus[index], name, from, second);
	} else if (!strcmp(key, "process")) {
		snprintf(name, sizeof name, "process%.15s", first);
		put(&gpus[index], name, 0, second);
	} else if (strchr(key, '.')) { /* instance.key: of a MIG instance */
		int which = atoi(key);
		if (which >= 0 && which < INSTANCES) put(&parts[index][which], strchr(key, '.') + 1, 0, rest);
	} else
		put(&gpus[index], key, 0, rest);
}

static void line_of(char *line) {
	char word[TEXT] = "", which[TEXT] = "", key[TEXT] = "";
	int at = 0;
	line[strcspn(line, "#\n")] = 0;
	if (sscanf(line, "%63s %63s %n", word, which, &at) < 2) return;
	if (!strcmp(word, "driver")) {
		snprintf(driver, sizeof driver, "%s", which);
		present = strcmp(which, "none");
	} else if (!strcmp(word, "generation")) {
		if (generation && atoi(which) != generation) users = 0; /* loaded anew: who had it must ask again */
		generation = atoi(which);
	} else if (!strcmp(word, "gpus"))
		count = atoi(which) < GPUS ? atoi(which) : GPUS;
	else if (!strcmp(word, "fails") || !strcmp(word, "hangs")) { /* a call about no GPU */
		char of[2 * TEXT];
		snprintf(of, sizeof of, "%s %s", which, line + at);
		of_gpu(-1, word, of);
	} else if (!strcmp(word, "gpu")) {
		int from = *which == '*' ? 0 : atoi(which), to = *which == '*' ? GPUS - 1 : from, end = 0;
		if (from < 0 || to >= GPUS || sscanf(line + at, "%63s %n", key, &end) < 1) return;
		for (int i = from; i <= to; i++) of_gpu(i, key, line + at + end);
	}
}

/* Read the file where it has changed. Held: lock. */
static void refresh(void) {
	const char *path = getenv("GPUMEDIC_LAB_NVML");
	struct stat now;
	FILE *file;
	char line[256];
	if (path && strcmp(path, played)) { /* another scenario: nothing of the one before is left */
		snprintf(played, sizeof played, "%s", path);
		for (int i = 0; i < GPUS; i++) changed[i].entries = risen[i].entries = 0;
		users = taken = generation = 0;
		memset(&seen, 0, sizeof seen);
	}
	if (!path || stat(path, &now)) { present = 0; users = 0; memset(&seen, 0, sizeof seen); return; }
	if (now.st_ino == seen.st_ino && now.st_mtim.tv_sec == seen.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec && now.st_size == seen.st_size)
		return;
	if (!(file = fopen(path, "r"))) return;
	seen = now;
	for (int i = 0; i < GPUS; i++) {
		gpus[i].entries = 0, gpus[i].index = i, gpus[i].instance = -1;
		for (int j = 0; j < INSTANCES; j++)
			parts[i][j].entries = 0, parts[i][j].index = i, parts[i][j].instance = j;
	}
	count = n_faults = n_events = 0;
	while (fgets(line, sizeof line, file)) line_of(line);
	if (taken > n_events) taken = n_events;
	fclose(file);
	if (!present) users = 0;
}

static void counted(const char *call) {
	for (int i = 0; i < CALLS; i++) {
		if (calls[i].count && strcmp(calls[i].name, call)) continue;
		if (!calls[i].count) snprintf(calls[i].name, sizeof calls[i].name, "%s", call);
		calls[i].count++;
		return;
	}
}

/* What this call is to return before it does anything: waits for as long as it is told to hang. */
static int fate(const char *call, int index, int needs_users) {
	for (int first = 1;; first = 0) {
		int hangs = 0, code = OK;
		pthread_mutex_lock(&lock);
		if (first) counted(call);
		refresh();
		for (int i = 0; i < n_faults; i++)
			if (faults[i].gpu == index && (*faults[i].call == '*' || !strcmp(faults[i].call, call))) {
				if (faults[i].hangs) hangs = 1;
				else if (!code) code = faults[i].code;
			}
		if (needs_users && !users) code = present ? UNINITIALIZED : NO_DRIVER;
		pthread_mutex_unlock(&lock);
		if (!hangs) return code;
		usleep(5000);
	}
}

/* The value of a key, which rises where the file says so; "not supported" where there is none. */
static int value(device of, const char *key, unsigned scope, int64_t *to) {
	entry *at;
	int code = UNSUPPORTED;
	pthread_mutex_lock(&lock);
	if ((at = of->instance < 0 ? find(&changed[of->index], key, scope) : NULL) || (at = find(of, key, scope))) {
		if (at->rise) {
			entry *so_far = find(&risen[of->index], key, scope);
			if (so_far) so_far->value += at->rise;
			else put(&risen[of->index], key, scope, at->text), so_far = at;
			*to = so_far->value;
		} else
			*to = at->value;
		code = OK;
	}
	pthread_mutex_unlock(&lock);
	return code;
}

static int text_of(device of, const char *key, char *to, unsigned size) {
	pthread_mutex_lock(&lock);
	entry *at = find(of, key, 0);
	if (at) snprintf(to, size, "%s", at->text);
	pthread_mutex_unlock(&lock);
	return at ? OK : UNSUPPORTED;
}

static int change(device of, const char *key, int64_t to) {
	char text[24];
	snprintf(text, sizeof text, "%lld", (long long)to);
	pthread_mutex_lock(&lock);
	put(&changed[of->index], key, 0, text);
	pthread_mutex_unlock(&lock);
	return OK;
}

#define CALL(name, ...) int nvml##name(__VA_ARGS__)
#define BEGIN(name, of) do { int code = fate("nvml" #name, (of)->index, 1); if (code) return code; } while (0)
#define GLOBAL(name) do { int code = fate("nvml" #name, -1, 1); if (code) return code; } while (0)
#define GET(at, of, key, type) do { int64_t found; int code = value(of, key, 0, &found); if (code) return code; *(at) = (type)found; } while (0)
#define ONE(name, key, type) CALL(name, device of, type *to) { BEGIN(name, of); GET(to, of, key, type); return OK; }
#define TWO(name, key, other, type) CALL(name, device of, type *to, type *more) { BEGIN(name, of); GET(to, of, key, type); GET(more, of, other, type); return OK; }
#define WORDS(name, key) CALL(name, device of, char *to, unsigned size) { BEGIN(name, of); return text_of(of, key, to, size); }
#define SET(name, key, type) CALL(name, device of, type to) { BEGIN(name, of); return change(of, key, to); }

/* How often a call was made in this process, for tests. */
unsigned lab_calls(const char *call) {
	for (int i = 0; i < CALLS && calls[i].count; i++)
		if (!strcmp(calls[i].name, call)) return calls[i].count;
	return 0;
}

CALL(InitWithFlags, unsigned flags) {
	(void)flags;
	int code = fate("nvmlInitWithFlags", -1, 0);
	if (code) return code;
	pthread_mutex_lock(&lock);
	code = present ? OK : NO_DRIVER;
	if (!code) users++;
	pthread_mutex_unlock(&lock);
	return code;
}
CALL(Shutdown, void) {
	GLOBAL(Shutdown);
	pthread_mutex_lock(&lock);
	if (users) users--;
	pthread_mutex_unlock(&lock);
	return OK;
}
const char *nvmlErrorString(int code) {
	static const char *const said[] = {"Success", "Uninitialized", "Invalid Argument", "Not Supported",
		"Insufficient Permissions", "?", "Not Found", "Insufficient Size", "?", "Driver Not Loaded", "Timeout",
		"?", "?", "Function Not Found", "?", "GPU is lost", "GPU requires restart"};
	return code >= 0 && code < 17 ? said[code] : code == 18 ? "Driver/library version mismatch" : "Unknown Error";
}
CALL(SystemGetDriverVersion, char *to, unsigned size) { GLOBAL(SystemGetDriverVersion); snprintf(to, size, "%s", driver); return OK; }
CALL(SystemGetNVMLVersion, char *to, unsigned size) { GLOBAL(SystemGetNVMLVersion); snprintf(to, size, "13.%s", driver); return OK; }
CALL(SystemGetCudaDriverVersion_v2, int *to) { GLOBAL(SystemGetCudaDriverVersion_v2); *to = 13000; return OK; }
CALL(DeviceGetCount_v2, unsigned *to) { GLOBAL(DeviceGetCount_v2); *to = (unsigned)count; return OK; }
CALL(DeviceGetHandleByIndex_v2, unsigned index, device *to) {
	GLOBAL(DeviceGetHandleByIndex_v2);
	if (index >= (unsigned)count) return INVALID;
	BEGIN(DeviceGetHandleByIndex_v2, &gpus[index]);
	*to = &gpus[index];
	return OK;
}
CALL(DeviceGetHandleByUUID, const char *uuid, device *to) {
	GLOBAL(DeviceGetHandleByUUID);
	for (int i = 0; i < count; i++) {
		char own[TEXT];
		if (text_of(&gpus[i], "uuid", own, sizeof own) || strcmp(own, uuid)) continue;
		BEGIN(DeviceGetHandleByUUID, &gpus[i]);
		*to = &gpus[i];
		return OK;
	}
	return NOT_FOUND;
}
WORDS(DeviceGetName, "name")
WORDS(DeviceGetUUID, "uuid")
WORDS(DeviceGetSerial, "serial")
WORDS(DeviceGetVbiosVersion, "vbios")
WORDS(DeviceGetInforomImageVersion, "inforom")
CALL(DeviceGetGspFirmwareVersion, device of, char *to) { BEGIN(DeviceGetGspFirmwareVersion, of); return text_of(of, "gsp_firmware", to, 64); }
CALL(DeviceGetIndex, device of, unsigned *to) { BEGIN(DeviceGetIndex, of); *to = (unsigned)of->index; return OK; }
ONE(DeviceGetMinorNumber, "minor", unsigned)
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
CALL(DeviceGetPciInfo_v3, device of, struct pci *to) { BEGIN(DeviceGetPciInfo_v3, of); memset(to, 0, sizeof *to); return text_of(of, "pci", to->bus_id, sizeof to->bus_id); }
CALL(DeviceGetUtilizationRates, device of, unsigned to[2]) {
	BEGIN(DeviceGetUtilizationRates, of);
	GET(&to[0], of, "utilization", unsigned);
	GET(&to[1], of, "memory_utilization", unsigned);
	return OK;
}
TWO(DeviceGetEncoderUtilization, "encoder_utilization", "sampling", unsigned)
TWO(DeviceGetDecoderUtilization, "decoder_utilization", "sampling", unsigned)
CALL(DeviceGetMemoryInfo, device of, uint64_t to[3]) {
	BEGIN(DeviceGetMemoryInfo, of);
	GET(&to[0], of, "memory", uint64_t);
	GET(&to[2], of, "memory_used", uint64_t);
	to[1] = to[0] - to[2];
	return OK;
}
struct memory_v2 { unsigned version; uint64_t total, reserved, free, used; };
CALL(DeviceGetMemoryInfo_v2, device of, struct memory_v2 *to) {
	BEGIN(DeviceGetMemoryInfo_v2, of);
	GET(&to->total, of, "memory", uint64_t);
	GET(&to->used, of, "memory_used", uint64_t);
	GET(&to->reserved, of, "memory_reserved", uint64_t);
	to->free = to->total - to->used - to->reserved;
	return OK;
}
CALL(DeviceGetBAR1MemoryInfo, device of, uint64_t to[3]) {
	BEGIN(DeviceGetBAR1MemoryInfo, of);
	GET(&to[0], of, "bar1", uint64_t);
	GET(&to[2], of, "bar1_used", uint64_t);
	to[1] = to[0] - to[2];
	return OK;
}
ONE(DeviceGetPowerUsage, "power", unsigned)
ONE(DeviceGetEnforcedPowerLimit, "power_limit", unsigned)
ONE(DeviceGetPowerManagementLimit, "power_limit", unsigned)
ONE(DeviceGetPowerManagementDefaultLimit, "power_limit_default", unsigned)
TWO(DeviceGetPowerManagementLimitConstraints, "power_limit_min", "power_limit_max", unsigned)
SET(DeviceSetPowerManagementLimit, "power_limit", unsigned)
ONE(DeviceGetTotalEnergyConsumption, "energy", unsigned long long)
static const char *const CLOCK[] = {"graphics_clock", "sm_clock", "memory_clock", "video_clock"};
static const char *const CLOCK_MAX[] = {"graphics_clock_max", "sm_clock_max", "memory_clock_max", "video_clock_max"};
CALL(DeviceGetClockInfo, device of, unsigned type, unsigned *to) {
	BEGIN(DeviceGetClockInfo, of);
	if (type > 3) return INVALID;
	GET(to, of, CLOCK[type], unsigned);
	return OK;
}
CALL(DeviceGetMaxClockInfo, device of, unsigned type, unsigned *to) {
	BEGIN(DeviceGetMaxClockInfo, of);
	if (type > 3) return INVALID;
	GET(to, of, CLOCK_MAX[type], unsigned);
	return OK;
}
CALL(DeviceSetGpuLockedClocks, device of, unsigned low, unsigned high) {
	BEGIN(DeviceSetGpuLockedClocks, of);
	change(of, "locked_low", low);
	return change(of, "sm_clock", high);
}
CALL(DeviceResetGpuLockedClocks, device of) {
	int64_t most = 0;
	BEGIN(DeviceResetGpuLockedClocks, of);
	value(of, "sm_clock_max", 0, &most);
	return change(of, "sm_clock", most);
}
ONE(DeviceGetCurrentClocksEventReasons, "clock_event_reasons", unsigned long long)
ONE(DeviceGetCurrentClocksThrottleReasons, "clock_event_reasons", unsigned long long)
ONE(DeviceGetPerformanceState, "performance_state", unsigned)
ONE(DeviceGetPersistenceMode, "persistence", unsigned)
ONE(DeviceGetComputeMode, "compute_mode", unsigned)
CALL(DeviceGetTemperature, device of, unsigned sensor, unsigned *to) {
	BEGIN(DeviceGetTemperature, of);
	if (sensor) return INVALID;
	GET(to, of, "temperature", unsigned);
	return OK;
}
struct margin { unsigned version; int margin; };
CALL(DeviceGetMarginTemperature, device of, struct margin *to) { BEGIN(DeviceGetMarginTemperature, of); GET(&to->margin, of, "margin", int); return OK; }
static const char *const THRESHOLD[] = {"shutdown_at", "slowdown_at", "memory_max_at", "gpu_max_at"};
CALL(DeviceGetTemperatureThreshold, device of, unsigned type, unsigned *to) {
	BEGIN(DeviceGetTemperatureThreshold, of);
	if (type > 3) return INVALID;
	GET(to, of, THRESHOLD[type], unsigned);
	return OK;
}
ONE(DeviceGetFanSpeed, "fan", unsigned)
TWO(DeviceGetEccMode, "ecc_mode", "ecc_mode_pending", unsigned)
static const char *const BANKS[] = {"banks_max", "banks_high", "banks_partial", "banks_low", "banks_none"};
CALL(DeviceGetRowRemapperHistogram, device of, unsigned to[5]) {
	BEGIN(DeviceGetRowRemapperHistogram, of);
	for (int i = 0; i < 5; i++) GET(&to[i], of, BANKS[i], unsigned);
	return OK;
}
ONE(DeviceGetCurrPcieLinkGeneration, "pcie_generation", unsigned)
ONE(DeviceGetCurrPcieLinkWidth, "pcie_width", unsigned)
ONE(DeviceGetMaxPcieLinkGeneration, "pcie_generation_max", unsigned)
ONE(DeviceGetMaxPcieLinkWidth, "pcie_width_max", unsigned)
struct fabric { unsigned version; uint8_t cluster[16]; int status; unsigned clique; uint8_t state; unsigned health; uint8_t summary; };
CALL(DeviceGetGpuFabricInfoV, device of, struct fabric *to) {
	BEGIN(DeviceGetGpuFabricInfoV, of);
	GET(&to->state, of, "fabric_state", uint8_t);
	GET(&to->status, of, "fabric_status", int);
	GET(&to->clique, of, "fabric_clique", unsigned);
	GET(&to->health, of, "fabric_health", unsigned);
	GET(&to->summary, of, "fabric_summary", uint8_t);
	return OK;
}

struct field { unsigned id, scope; int64_t at, late; unsigned type; int code; union { uint64_t whole; int64_t negative; } value; };
CALL(DeviceGetFieldValues, device of, int many, struct field *to) {
	BEGIN(DeviceGetFieldValues, of);
	for (int i = 0; i < many; i++) {
		char key[16];
		int64_t found = 0;
		snprintf(key, sizeof key, "%u", to[i].id);
		to[i].code = value(of, key, to[i].scope, &found);
		to[i].type = found < 0 ? 4 : 3; /* signed or unsigned long long */
		to[i].value.negative = found;
		to[i].at = to[i].late = 0;
	}
	return OK;
}

struct process { unsigned pid; uint64_t memory; unsigned instance, compute; };
static int processes(device of, unsigned *many, struct process *to) {
	unsigned found = 0, room = *many;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < of->entries; i++) {
		if (strncmp(of->entry[i].key, "process", 7)) continue;
		if (to && found < room)
			to[found] = (struct process){(unsigned)atoi(of->entry[i].key + 7), (uint64_t)of->entry[i].value, ~0u, ~0u};
		found++;
	}
	pthread_mutex_unlock(&lock);
	*many = found;
	return found > room ? TOO_SMALL : OK;
}
CALL(DeviceGetComputeRunningProcesses_v3, device of, unsigned *many, struct process *to) { BEGIN(DeviceGetComputeRunningProcesses_v3, of); return processes(of, many, to); }
CALL(DeviceGetGraphicsRunningProcesses_v3, device of, unsigned *many, struct process *to) { (void)to; BEGIN(DeviceGetGraphicsRunningProcesses_v3, of); *many = 0; return OK; }

TWO(DeviceGetMigMode, "mig", "mig_pending", unsigned)
/* Power in the last 12 s, a sample in 100 ms: less "power_swing" in the second half of each
 * "power_period" ms. */
struct sample { uint64_t at_us, value; };
enum { TOTAL_POWER, SAMPLES = 119, SAMPLE_US = 100000, UNSIGNED_INT = 1 };
CALL(DeviceGetSamples, device of, unsigned type, unsigned long long since, unsigned *kind, unsigned *many, struct sample *to) {
	int64_t power, swing, period;
	(void)since;
	BEGIN(DeviceGetSamples, of);
	if (type != TOTAL_POWER) return UNSUPPORTED;
	GET(&power, of, "power", int64_t);
	GET(&swing, of, "power_swing", int64_t);
	GET(&period, of, "power_period", int64_t);
	for (unsigned i = 0; to && i < SAMPLES && i < *many; i++) {
		int64_t in = i * (int64_t)(SAMPLE_US / 1000) % period;
		to[i] = (struct sample){(uint64_t)i * SAMPLE_US, (uint64_t)(2 * in < period ? power : power - swing)};
	}
	*kind = UNSIGNED_INT;
	*many = SAMPLES;
	return OK;
}
CALL(DeviceGetMaxMigDeviceCount, device of, unsigned *to) { BEGIN(DeviceGetMaxMigDeviceCount, of); *to = INSTANCES; return OK; }
CALL(DeviceGetMigDeviceHandleByIndex, device of, unsigned index, device *to) {
	BEGIN(DeviceGetMigDeviceHandleByIndex, of);
	if (index >= INSTANCES || !parts[of->index][index].entries) return NOT_FOUND;
	*to = &parts[of->index][index];
	return OK;
}
ONE(DeviceGetGpuInstanceId, "gpu_instance", unsigned)
ONE(DeviceGetComputeInstanceId, "compute_instance", unsigned)

CALL(DeviceGetSupportedEventTypes, device of, unsigned long long *to) { BEGIN(DeviceGetSupportedEventTypes, of); *to = 0x1 | 0x2 | 0x8; return OK; }
CALL(EventSetCreate, void **set) { GLOBAL(EventSetCreate); *set = events; return OK; }
CALL(EventSetFree, void *set) { (void)set; GLOBAL(EventSetFree); return OK; }
CALL(DeviceRegisterEvents, device of, unsigned long long types, void *set) { (void)types; (void)set; BEGIN(DeviceRegisterEvents, of); return OK; }
struct happened { device of; uint64_t type, data; unsigned instance, compute; };
/* Tells of changes to the file, without which a wait would have to look for them; -1: nothing does. */
static int watch(void) {
	const char *path = getenv("GPUMEDIC_LAB_NVML"), *end = path ? strrchr(path, '/') : NULL;
	char folder[4096] = ".";
	int changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (end) snprintf(folder, sizeof folder, "%.*s", (int)(end - path) + 1, path);
	if (changes >= 0) inotify_add_watch(changes, folder, IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE);
	return changes;
}

/* The next event, if there is one; a wait is over with any answer but TIMED_OUT. */
static int next_event(struct happened *to) {
	int code = fate("nvmlEventSetWait_v2", -1, 1);
	if (code) return code;
	pthread_mutex_lock(&lock);
	int got = taken < n_events;
	if (got) {
		event *at = &events[taken++];
		*to = (struct happened){&gpus[at->gpu], at->type, at->data, ~0u, ~0u};
	}
	pthread_mutex_unlock(&lock);
	return got ? OK : TIMED_OUT;
}

CALL(EventSetWait_v2, void *set, struct happened *to, unsigned wait_ms) {
	struct pollfd changes = {watch(), POLLIN, 0};
	char said[4096];
	int code;
	(void)set;
	while ((code = next_event(to)) == TIMED_OUT && wait_ms) {
		unsigned turn_ms = wait_ms < 500 ? wait_ms : 500; /* another file may be played meanwhile */
		if (!poll(&changes, 1, (int)turn_ms)) wait_ms -= turn_ms;
		while (read(changes.fd, said, sizeof said) > 0) {}
	}
	close(changes.fd);
	return code;
}
