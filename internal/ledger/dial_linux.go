package ledger

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// unanswered is how long what was sent may stay without an answer of the network, in milliseconds. Without a limit that is
// a quarter of an hour.
const unanswered = 20_000

func giveUpUnanswered(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	var set error
	err := c.Control(func(socket uintptr) {
		set = unix.SetsockoptInt(int(socket), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, unanswered)
	})
	if err != nil {
		return err
	}
	return set
}
