/* Ops that speak rtnetlink(7) in the present network namespace: ready messages, made in Python. */
#include <linux/netlink.h>
#include <sys/socket.h>
#include "init.h"

static long netlink = -1;

long op_reset_socket(const struct op *op)
{
  (void)op;
  shut(netlink);
  netlink = -1;
  return 0;
}

/* Sends s1 if it is exactly one message that the kernel will answer; else the wait would not end. */
static long send_request(const struct op *op, uint32_t flags)
{
  const struct nlmsghdr *message = (const void *)bytes_at(op->s1);
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (length_at(op->s1) < sizeof *message || message->nlmsg_len != length_at(op->s1)
      || !(message->nlmsg_flags & NLM_F_REQUEST) || !(message->nlmsg_flags & flags))
    return -EBADMSG;
  if (op->number == OP_NETLINK && op->slot >= 0) {
    /* The table is sealed, and another op may send the same text: a copy of it is changed. */
    long fd = slot_fd(op->slot);
    if (fd < 0)
      return fd;
    if (message->nlmsg_len > sizeof buffer || op->a < sizeof *message || op->a > message->nlmsg_len - sizeof(int32_t))
      return -EBADMSG;
    memcpy(buffer, message, message->nlmsg_len);
    memcpy(buffer + op->a, &(int32_t){(int32_t)fd}, sizeof(int32_t));
    message = (const void *)buffer;
  }
  if (netlink < 0) {
    netlink = SYS(socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink < 0)
      return netlink;
  }
  long sent = SYS(sendto, netlink, message, message->nlmsg_len, 0, &kernel, sizeof kernel);
  if (sent < 0)
    return sent;
  return (uint64_t)sent == message->nlmsg_len ? 0 : -EIO;
}

/* One datagram of the kernel's into the buffer: its length, or an error. */
static long receive(void)
{
  struct sockaddr_nl from;
  long got;
  do {
    uint32_t size = sizeof from;
    from.nl_pid = 0;
    got = SYS(recvfrom, netlink, buffer, sizeof buffer, MSG_TRUNC, &from, &size);
  } while (got == -EINTR || (got >= 0 && from.nl_pid != 0));   /* netlink(7): port 0 is the kernel */
  return got > (long)sizeof buffer ? -EMSGSIZE : got;
}

/* Goes through a datagram: 1 when the answer to `sequence` is complete, 0 when more comes, or an error. */
static long judge(long length, uint32_t sequence)
{
  long left = length;
  for (const struct nlmsghdr *reply = (const void *)buffer; left > 0 && NLMSG_OK(reply, (uint32_t)left); reply = NLMSG_NEXT(reply, left)) {
    if (reply->nlmsg_seq != sequence)
      continue;
    if (reply->nlmsg_type == NLMSG_DONE || reply->nlmsg_type == NLMSG_ERROR) {
      int32_t error = 0;
      if (reply->nlmsg_len >= NLMSG_LENGTH(sizeof error))
        memcpy(&error, NLMSG_DATA(reply), sizeof error);
      return error < 0 ? error : 1;
    }
  }
  return 0;
}

long op_netlink(const struct op *op)
{
  long state = send_request(op, NLM_F_ACK);
  if (state)
    return state;
  const struct nlmsghdr *message = (const void *)bytes_at(op->s1);
  while (state == 0) {
    long got = receive();
    state = got < 0 ? got : judge(got, message->nlmsg_seq);
  }
  return state == 1 || (op->c && state == -(long)op->c) ? 0 : state;
}

long op_dump(const struct op *op)
{
  long state = send_request(op, NLM_F_ACK | NLM_F_ROOT | NLM_F_MATCH);
  if (state)
    return state;
  const struct nlmsghdr *message = (const void *)bytes_at(op->s1);
  while (state == 0) {
    long got = receive();
    state = got < 0 ? got : judge(got, message->nlmsg_seq);
    if (state >= 0)
      send_report(REPORT_DATA, 0, buffer, (uint32_t)got, -1);
  }
  if (state < 0)
    return state;
  send_report(REPORT_DATA, 0, 0, 0, -1);
  return 0;
}
