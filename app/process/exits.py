"""The exit statuses of the command."""

EXIT_OK = 0
EXIT_STARTUP = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
