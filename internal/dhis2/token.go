package dhis2

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// TokenExpiries asks when the access tokens of the account expire, and gives the soonest first, the expired ones too.
// DHIS2 tells the tokens of the account that asks, and not with which of them it was asked. It is empty where the account
// has none, as with a password, and where the server knows no tokens or does not let it see them (404, 403).
func (c *Client) TokenExpiries(ctx context.Context) ([]time.Time, error) {
	var answer struct {
		Tokens []struct {
			Expire int64 `json:"expire"` // in milliseconds
		} `json:"apiToken"`
	}
	err := c.get(ctx, "ask DHIS2 when the token expires", "/api/apiToken?fields=id,expire", &answer)
	var known *Error
	if errors.As(err, &known) && (known.Status == http.StatusNotFound || known.Status == http.StatusForbidden) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var expiries []time.Time
	for _, token := range answer.Tokens {
		if token.Expire > 0 {
			expiries = append(expiries, time.UnixMilli(token.Expire).UTC())
		}
	}
	slices.SortFunc(expiries, time.Time.Compare)
	return expiries, nil
}

// TokenExpiry gives when the next access token of the account expires; zero is that none will. With several it may be another
// one's end than that of the token which the client uses: the earliest that is still to come is the careful answer.
func (c *Client) TokenExpiry(ctx context.Context) (time.Time, error) {
	expiries, err := c.TokenExpiries(ctx)
	if at := slices.IndexFunc(expiries, func(t time.Time) bool { return t.After(c.now()) }); at >= 0 {
		return expiries[at], nil
	}
	return time.Time{}, err
}
