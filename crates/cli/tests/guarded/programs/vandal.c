/* Wild code in somebody else's program: loaded in front of everything (LD_PRELOAD), it writes to a database object of SQLite
 * when the program closes it. VANDAL says from where. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "stray.h"

static int close_with(const char *function, void *database)
{
	const char *place = getenv("VANDAL");
	int (*real)(void *) = (int (*)(void *))dlsym(RTLD_NEXT, function);

	if (place && database)
		stray_from(place, database);
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
