package ledger

import (
	"context"
	"net"
	"time"
)

// dial connects to PostgreSQL so that a server, or a network, that is gone without a word is found out in time.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         giveUpUnanswered,
	}
	return dialer.DialContext(ctx, network, address)
}
