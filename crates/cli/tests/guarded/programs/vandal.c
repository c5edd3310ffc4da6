/* Wild code in somebody else's program: loaded in front of everything (LD_PRELOAD), it writes once to a database object of
 * SQLite, when the program's first thread closes it. VANDAL says from where. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

#include "stray.h"

static pid_t program;

static __attribute__((constructor)) void remember(void)
{
	program = getpid();
}

static int close_with(const char *function, void *database)
{
	const char *place = getenv("VANDAL");
	/* A program may have loaded the library for one of its parts only, where RTLD_NEXT does not look. */
	void *library = dlopen("libsqlite3.so.0", RTLD_LAZY | RTLD_NOLOAD);
	int (*real)(void *) = (int (*)(void *))dlsym(library, function);

	/* Not in other threads, nor in children. */
	if (place && database && program == gettid()) {
		program = 0;
		stray_from(place, database);
	}
	return real(database);
}

int sqlite3_close(void *database)
{
	return close_with("sqlite3_close", database);
}

int sqlite3_close_v2(void *database)
{
	return close_with("sqlite3_close_v2", database);
}
