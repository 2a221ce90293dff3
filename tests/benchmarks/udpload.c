/* Datagrams for the benchmarks: "udpload serve PORT" answers each with itself; "udpload ask HOST PORT SECONDS" keeps 64
   of 64 bytes in flight on one flow and prints how many a second were answered. What is lost is sent again after 20 ms. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { FLIGHT = 64, SIZE = 64, PATIENCE_MS = 20, BUFFER = 4 << 20 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static int serve(int fd) {
  char data[2048];
  struct sockaddr_storage peer;
  for (;;) {
    socklen_t length = sizeof peer;
    ssize_t count = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&peer, &length);
    if (count >= 0) sendto(fd, data, count, 0, (struct sockaddr *)&peer, length);
  }
}

static int ask(int fd, double seconds) {
  char data[2048] = {0};
  long answers = 0, losses = 0;
  int flying = 0;
  double start = now(), end = start + seconds;
  while (now() < end) {
    while (flying < FLIGHT && send(fd, data, SIZE, MSG_DONTWAIT) >= 0) flying++;
    struct pollfd waiting = {.fd = fd, .events = POLLIN};
    if (poll(&waiting, 1, PATIENCE_MS) == 0) {
      losses += flying;
      flying = 0;
    }
    while (recv(fd, data, sizeof data, MSG_DONTWAIT) >= 0) {
      answers++;
      if (flying) flying--;
    }
  }
  printf("%.0f %ld\n", answers / (now() - start), losses);
  return 0;
}

int main(int count, char **words) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0), size = BUFFER;
  struct sockaddr_in address = {.sin_family = AF_INET};
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  if (count == 3 && !strcmp(words[1], "serve")) {
    address.sin_port = htons(atoi(words[2]));
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0) return serve(fd);
  } else if (count == 5 && !strcmp(words[1], "ask")) {
    address.sin_port = htons(atoi(words[3]));
    inet_pton(AF_INET, words[2], &address.sin_addr);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return ask(fd, atof(words[4]));
  }
  perror("udpload");
  return 1;
}
