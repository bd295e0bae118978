/*
 * One byte there and back over TCP: what a network path adds to a request. Static, so that it runs in any root.
 *
 *   pingpong serve ADDRESS PORT
 *   pingpong rr  ADDRESS PORT SECONDS     round trips on one connection
 *   pingpong crr ADDRESS PORT SECONDS     a connection for each round trip
 *
 * The client prints: trips, median and 99th percentile in nanoseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST (8u << 20)

static int ok(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static int tcp(void)
{
	int one = 1, fd = ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void serve(const struct sockaddr_in *at)
{
	int one = 1, listener = tcp();
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	ok(bind(listener, (const struct sockaddr *)at, sizeof *at), "bind");
	ok(listen(listener, 128), "listen");
	if (write(1, "ready\n", 6) != 6)
		exit(1);
	for (;;) {
		char byte;
		int fd = ok(accept(listener, NULL, NULL), "accept");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
			;
		close(fd);
	}
}

static int connected(const struct sockaddr_in *to)
{
	/* A reset instead of TIME_WAIT, which would use up the ports. */
	struct linger reset = { 1, 0 };
	int fd = tcp();
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	ok(connect(fd, (const struct sockaddr *)to, sizeof *to), "connect");
	return fd;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[3])) };
	if (inet_pton(AF_INET, argv[2], &address.sin_addr) != 1)
		return 2;
	if (strcmp(argv[1], "serve") == 0)
		serve(&address);
	if (argc < 5)
		return 2;
	int each = strcmp(argv[1], "crr") == 0, fd = -1;
	uint32_t *took = malloc(MOST * sizeof *took), count = 0;
	uint64_t end = now() + (uint64_t)(atof(argv[4]) * 1e9);
	char byte = 'x';
	if (took == NULL)
		return 1;
	while (count < MOST) {
		uint64_t start = now();
		if (start >= end)
			break;
		if (each || fd < 0)
			fd = connected(&address);
		if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) {
			perror("round trip");
			return 1;
		}
		if (each)
			close(fd);
		took[count++] = (uint32_t)(now() - start);
	}
	if (count == 0)
		return 1;
	qsort(took, count, sizeof *took, by_size);
	printf("%u %u %u\n", count, took[count / 2], took[(uint64_t)count * 99 / 100]);
	return 0;
}
