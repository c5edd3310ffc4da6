/* Wild code in an unmodified program (LD_PRELOAD): when SQLite is about to commit, it runs over the memory around the database
 * object that it was given, finds what Alice owes in a page that SQLite keeps there, and writes to it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* How far it runs, in both directions. */
#define REACH (8 << 20)

typedef int prepare(void *, const char *, int, void **, const char **);

/* The part of the mapping around `object` that is within reach. */
static int find_mapping(uintptr_t object, uintptr_t *start, uintptr_t *end)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	int found = 0;
	while (maps && !found && fscanf(maps, "%lx-%lx%*[^\n]", start, end) == 2)
		found = *start <= object && object < *end;
	if (maps)
		fclose(maps);
	if (object - *start > REACH)
		*start = object - REACH;
	if (*end - object > REACH)
		*end = object + REACH;
	return found;
}

static void run_wild(void *object)
{
	uintptr_t start, end;
	char *at;
	if (!find_mapping((uintptr_t)object, &start, &end))
		return;
	at = memmem((void *)start, end - start, "Alice100", 8);
	if (at)
		at[5] = '9';
}

int sqlite3_prepare_v2(void *object, const char *sql, int len, void **statement, const char **rest)
{
	prepare *real = (prepare *)dlsym(RTLD_NEXT, "sqlite3_prepare_v2");
	if (strncmp(sql, "COMMIT", 6) == 0)
		run_wild(object);
	return real(object, sql, len, statement, rest);
}
