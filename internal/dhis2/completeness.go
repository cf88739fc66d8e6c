package dhis2

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Registration says whether an org unit's form of a data set and period is complete.
type Registration struct {
	// AttributeOptionCombo is empty for the default one.
	OrgUnit, AttributeOptionCombo string
	Completed                     bool
}

// StoredRegistration is a registration as a DHIS2 holds it, its default combo by its id, and the user name of who was last at it.
type StoredRegistration struct {
	Registration

	By string
}

// RegistrationBatch is what goes in one request: each org unit and attribute option combo once.
type RegistrationBatch struct {
	DataSet string
	Period  Period
	// Date is the day of the registration, such as "2026-10-03".
	Date string
	// Quiet lets DHIS2 notify nobody.
	Quiet         bool
	Registrations []Registration
}

// RegistrationOutcome is what became of a batch.
type RegistrationOutcome struct {
	// Refused gives by its place in the batch why DHIS2 did not take a registration, in its words; the others are taken.
	Refused map[int]string
	// Split says that which ones were taken cannot be told: the halves have to go by themselves.
	Split bool
	// Broken says that DHIS2's import failed: one registration that it cannot read fails the whole request from 2.43 on, and
	// so does a database in trouble.
	Broken bool
	// Failure says why nothing is known of the batch, and Wait how long to let pass at least; nil where all is known.
	Failure *Error
	Wait    time.Duration
}

// jsonRegistration is how a registration travels. The org unit has another name here than in values.
type jsonRegistration struct {
	DataSet              string `json:"dataSet"`
	Period               string `json:"period"`
	OrgUnit              string `json:"organisationUnit"`
	AttributeOptionCombo string `json:"attributeOptionCombo,omitempty"`
	Date                 string `json:"date,omitempty"`
	Completed            *bool  `json:"completed,omitempty"`
	StoredBy             string `json:"storedBy,omitempty"`
	LastUpdatedBy        string `json:"lastUpdatedBy,omitempty"`
}

// Register registers org units as complete, or as not complete any more. Within its life the same text is tried a few times;
// to register again what is registered changes nothing. Neither dialect checks that the data set is assigned to an org unit,
// and a missing attribute option combo becomes the default one, whatever the data set needs: that is the caller's to see to.
func (c *Client) Register(ctx context.Context, batch RegistrationBatch) (RegistrationOutcome, error) {
	select {
	case c.inFlight <- struct{}{}:
		defer func() { <-c.inFlight }()
	case <-ctx.Done():
		return RegistrationOutcome{}, ctx.Err()
	}
	var list struct {
		Registrations []jsonRegistration `json:"completeDataSetRegistrations"`
	}
	for _, r := range batch.Registrations {
		list.Registrations = append(list.Registrations, jsonRegistration{
			DataSet: batch.DataSet, Period: batch.Period.String(), OrgUnit: r.OrgUnit, AttributeOptionCombo: r.AttributeOptionCombo,
			Date: batch.Date, Completed: &r.Completed,
		})
	}
	body, err := json.Marshal(list)
	if err != nil {
		return RegistrationOutcome{}, err
	}
	path := "/api/completeDataSetRegistrations"
	if batch.Quiet {
		path += "?skipNotifications=true"
	}
	request, err := c.request(ctx, http.MethodPost, path, body)
	if err != nil {
		return RegistrationOutcome{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	var outcome RegistrationOutcome
	started := c.now()
	//nolint:bodyclose // the caller has read and closed it
	_, _, _ = c.caller.Do(request, func(try int, response *http.Response, body []byte, err error) (time.Duration, bool) {
		outcome = batch.judge(response, body, err)
		f := outcome.Failure
		if f == nil {
			return 0, false
		}
		outcome.Wait = max(shortWait(try, response), c.now().Sub(started))
		again := f.Temporary && !f.timedOut() && try < maxTries && outcome.Wait <= maxShortWait
		started = c.now().Add(outcome.Wait)
		return outcome.Wait, again
	})
	return outcome, ctx.Err()
}

// judge tells what became of a batch, by status and body together. It is the one place that decides so.
func (b RegistrationBatch) judge(response *http.Response, body []byte, err error) RegistrationOutcome {
	if err != nil {
		return RegistrationOutcome{Failure: callFailure(err)}
	}
	status := response.StatusCode
	if (status == http.StatusOK || status == http.StatusConflict) && isJSON(response.Header) {
		answer, err := ParseAnswer(body)
		switch {
		case err != nil:
			return RegistrationOutcome{Failure: &Error{Kind: Unavailable, Status: status, Temporary: true, What: "the answer cannot be read: " + err.Error(), Remedy: "look at DHIS2 and what stands before it"}}
		case answer.Response == nil:
			return b.unclear(fmt.Sprintf("DHIS2 answered %d without an import summary: %.300s", status, answer.Message))
		}
		return b.judgeSummary(*answer.Response)
	}
	failure := failureOf(response, body, nil)
	switch {
	case failure.Kind == Refused, status == http.StatusForbidden: // as the values of the same account were taken, this is about registering alone
		return b.refuse(failure.What)
	case status == http.StatusRequestEntityTooLarge:
		return b.unclear(failure.What)
	default:
		return RegistrationOutcome{Failure: failure}
	}
}

// judgeSummary reads a summary. It says SUCCESS as soon as one registration was taken, and its conflicts have an object and a
// text, and no places: an org unit's id, or what else is wrong.
func (b RegistrationBatch) judgeSummary(s ImportSummary) RegistrationOutcome {
	switch {
	case strings.HasPrefix(s.Description, processFailed):
		o := b.unclear(s.Description)
		o.Broken = true
		return o
	case len(s.Conflicts) == 0 && s.ImportCount.Ignored == 0 && s.Status != "ERROR":
		return RegistrationOutcome{}
	case len(b.Registrations) == 1 && s.Status == "SUCCESS" && s.ImportCount.Ignored == 0:
		return RegistrationOutcome{}
	}
	if s.ImportCount.Ignored == len(b.Registrations) && len(s.Conflicts) > 0 {
		first := s.Conflicts[0].Value
		if !slices.ContainsFunc(s.Conflicts, func(c Conflict) bool { return c.Value != first }) {
			return b.refuse(first)
		}
	}
	refused := map[int]string{}
	for _, conflict := range s.Conflicts {
		at, known := b.named(conflict)
		if !known {
			return b.unclear(allConflicts(s))
		}
		refused[at] = conflict.Value
	}
	if len(refused) != s.ImportCount.Ignored {
		return b.unclear(allConflicts(s))
	}
	return RegistrationOutcome{Refused: refused}
}

// named finds the registration of a conflict, where that names its org unit and no other one's.
func (b RegistrationBatch) named(c Conflict) (at int, known bool) {
	for i, r := range b.Registrations {
		if c.Object != r.OrgUnit && !strings.Contains(c.Value, r.OrgUnit) {
			continue
		}
		if known {
			return 0, false
		}
		at, known = i, true
	}
	return at, known
}

// unclear is an answer that does not tell the registrations apart; a single one is refused with it.
func (b RegistrationBatch) unclear(what string) RegistrationOutcome {
	if len(b.Registrations) > 1 {
		return RegistrationOutcome{Split: true}
	}
	return b.refuse(what)
}

// refuse is an answer that took none.
func (b RegistrationBatch) refuse(what string) RegistrationOutcome {
	o := RegistrationOutcome{Refused: map[int]string{}}
	for i := range b.Registrations {
		o.Refused[i] = what
	}
	return o
}

func allConflicts(s ImportSummary) string {
	var texts []string
	for _, c := range s.Conflicts {
		texts = append(texts, c.Value)
	}
	return cmp.Or(strings.Join(texts, "; "), "DHIS2 gives no reason")
}

// Registrations reads what is registered of a slice, as a stream, and gives each to yield. An answer without a list has none.
// ErrUnreadable, wrapped, says that the account may not read it.
func (c *Client) Registrations(ctx context.Context, s Slice, yield func(StoredRegistration)) error {
	doing := fmt.Sprintf("read from DHIS2 which org units are complete in %s of data set %s", s.Period, s.DataSet)
	query := url.Values{"dataSet": {s.DataSet}, "period": {s.Period.String()}, "orgUnit": s.OrgUnits, "children": {"true"}}
	request, err := c.request(ctx, http.MethodGet, "/api/completeDataSetRegistrations?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, body, err := c.caller.Stream(request, judgeRead)
	if failure := failureOf(response, body, err); failure != nil {
		failure.Doing = doing
		if failure.Status == http.StatusConflict || failure.Status == http.StatusForbidden {
			failure.Kind, failure.err = Refused, ErrUnreadable
			failure.Remedy = "share the data set with the account for viewing data, and give the account org units that cover it"
		}
		return failure
	}
	defer func() { _ = response.Body.Close() }()
	d := jsontext.NewDecoder(bufio.NewReader(response.Body), jsontext.AllowDuplicateNames(true))
	if err := readRegistrations(d, yield); err != nil {
		return reading{doing: doing}.broken(err, 0)
	}
	return nil
}

func readRegistrations(d *jsontext.Decoder, yield func(StoredRegistration)) error {
	if err := opens(d, jsontext.KindBeginObject); err != nil {
		return err
	}
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		if name.String() != "completeDataSetRegistrations" || d.PeekKind() == jsontext.KindNull {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		if err := opens(d, jsontext.KindBeginArray); err != nil {
			return err
		}
		for d.PeekKind() != jsontext.KindEndArray {
			raw, err := d.ReadValue()
			if err != nil {
				return err
			}
			var r jsonRegistration
			if err := json.Unmarshal(raw, &r); err != nil {
				return &formError{fmt.Sprintf("a registration has another form than registrations have: %.80s", bytes.TrimSpace(raw))}
			}
			yield(StoredRegistration{
				Registration: Registration{OrgUnit: r.OrgUnit, AttributeOptionCombo: r.AttributeOptionCombo, Completed: r.Completed == nil || *r.Completed},
				By:           cmp.Or(r.LastUpdatedBy, r.StoredBy),
			})
		}
		if _, err := d.ReadToken(); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// opens reads the beginning of an object or array.
func opens(d *jsontext.Decoder, kind jsontext.Kind) error {
	token, err := d.ReadToken()
	if err == nil && token.Kind() != kind {
		err = &formError{"the answer has another form than registrations have"}
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
