package dhis2

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/cht-dhis2/mediator/internal/exchange"
)

// Options are what an import may ask for beside storing the values.
type Options struct {
	// DryRun lets DHIS2 check the values and store none.
	DryRun bool
}

// finishing is how long a request in flight may still take when its context ends.
const finishing = 20 * time.Second

// Import sends a chunk and tells what became of it. Within its life the same text is tried a few times, some seconds
// apart; what has to wait longer, or has to go in another form, is told by the outcome's Next.
//
// When the context ends, a request in flight is given 20 seconds to finish, so that its outcome is known. The error is
// for a context that ended before anything was sent. A recorder of the context is told the text that is sent.
func (c *Client) Import(ctx context.Context, dialect Dialect, chunk Packed, options Options) (Outcome, error) {
	if err := ctx.Err(); err != nil {
		return Outcome{}, err
	}
	select {
	case c.inFlight <- struct{}{}:
		defer func() { <-c.inFlight }()
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
	flight, land := context.WithCancel(context.WithoutCancel(ctx))
	defer land()
	var next atomic.Int64 // when the next try begins, while there is a wait before it
	defer context.AfterFunc(ctx, func() {
		if c.now().UnixNano() < next.Load() {
			land()
			return
		}
		time.AfterFunc(finishing, land)
	})()

	request, err := c.request(flight, http.MethodPost, "/api/dataValueSets?"+importQuery(options), chunk.Body)
	if err != nil {
		return Outcome{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")

	recorder := exchange.From(ctx)
	recorder.Sends(chunk.Text)
	defer recorder.Sends(exchange.Body{})

	outcome := Outcome{State: Unsent}
	started := c.now()
	//nolint:bodyclose // the caller has read and closed it
	_, _, _ = c.caller.Do(request, func(number int, response *http.Response, body []byte, err error) (time.Duration, bool) {
		outcome = Try{
			Number: number, Dialect: dialect, Period: chunk.Period, Values: chunk.Values, Took: c.now().Sub(started),
			Response: response, Body: body, Err: err,
		}.Judge().After(outcome.State == Unknown)
		started = c.now().Add(outcome.Wait)
		more := outcome.Next == Again && number < maxTries && outcome.Wait <= maxShortWait && ctx.Err() == nil
		if more {
			next.Store(started.UnixNano())
		}
		return outcome.Wait, more
	})
	return outcome, ctxIfUntried(ctx, outcome)
}

// ctxIfUntried gives the context's error where not even one try was judged.
func ctxIfUntried(ctx context.Context, o Outcome) error {
	if o.Next == "" {
		return ctx.Err()
	}
	return nil
}

// importQuery asks for every check that DHIS2 up to 2.42 leaves out by default; 2.43 always makes them.
func importQuery(options Options) string {
	query := url.Values{
		"strictPeriods":               {"true"},
		"strictDataElements":          {"true"},
		"strictCategoryOptionCombos":  {"true"},
		"strictAttributeOptionCombos": {"true"},
		"strictOrganisationUnits":     {"true"},
	}
	if options.DryRun {
		query.Set("dryRun", "true")
	}
	return query.Encode()
}
