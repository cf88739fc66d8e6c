package handlers

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

// A plan is read from a CHT while the client waits, which can take as long as the CHT does.
const (
	planLimit = 30 * time.Minute
	// stall is how long the client may leave an answer untouched.
	stall = 30 * time.Second
)

// preview shows what would be sent, and what stays behind and why. Nothing is sent or remembered.
func (d *door) preview(c *gin.Context) {
	query, err := readQuery(c, "org_unit", "data_set", "period", "cht")
	if err != nil {
		_ = c.Error(err)
		return
	}
	d.withPlan(c, plan{query: query, compare: true}, func(plan *orchestration.Plan, report orchestration.Report) {
		if report.State != ledger.Refused { // why it would be refused is what a preview is for
			if err := unfit(report); err != nil {
				_ = c.Error(err)
				return
			}
		}
		c.Header("Content-Type", "application/json; charset=utf-8")
		stream(c, plan.WritePreview)
	})
}

// quarantinedHeader says how many cells are not in a file because a check held them back.
const quarantinedHeader = "X-Quarantined-Cells"

// dataValueSet hands out what would be sent as a file for DHIS2's import.
func (d *door) dataValueSet(c *gin.Context) {
	query, err := readQuery(c, "org_unit", "data_set", "period", "cht", "format")
	if err != nil {
		_ = c.Error(err)
		return
	}
	format, err := formatOf(query.Get("format"), c.GetHeader("Accept"))
	if err != nil {
		_ = c.Error(err)
		return
	}
	d.withPlan(c, plan{query: query}, func(plan *orchestration.Plan, report orchestration.Report) {
		if err := unfit(report); err != nil {
			_ = c.Error(err)
			return
		}
		c.Header("Content-Disposition", `attachment; filename="`+fileName(report, len(query["org_unit"]) > 0)+"."+format+`"`)
		c.Header(quarantinedHeader, strconv.Itoa(report.Counts.Quarantined))
		if format == "csv" {
			c.Header("Content-Type", "text/csv; charset=utf-8")
			stream(c, plan.WriteCSV)
			return
		}
		c.Header("Content-Type", "application/json; charset=utf-8")
		stream(c, plan.WriteJSON)
	})
}

// formatOf chooses between json and csv.
func formatOf(asked, accept string) (string, error) {
	switch {
	case asked == "json", asked == "csv":
		return asked, nil
	case asked != "":
		return "", unknown("format", asked, []string{"json", "csv"})
	case strings.Contains(accept, "text/csv") && !strings.Contains(accept, "json"):
		return "csv", nil
	default:
		return "json", nil
	}
}

// fileName says what is in a file, without its ending.
func fileName(r orchestration.Report, isPart bool) string {
	name := r.DataSet + "-" + r.Period + "-" + r.CHT
	if isPart {
		name += "-part"
	}
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			return c
		}
		return '_'
	}, name)
}

// plan is what is asked for: all that a query chooses, or what differs of it from what DHIS2 holds.
type plan struct {
	query   url.Values
	compare bool
}

// turn gives a request that reads a whole month its place and its time; there are only so many places. The caller ends it with
// done.
func (d *door) turn(c *gin.Context) (ctx context.Context, done func(), err error) {
	select {
	case d.plans <- struct{}{}:
	default:
		return nil, nil, tooManyPlans
	}
	giveTime(c, planLimit+stall)
	ctx, cancel := context.WithTimeout(c.Request.Context(), planLimit)
	return ctx, func() { cancel(); <-d.plans }, nil
}

// withPlan prepares what the query asks for, and hands it to show. Only so many are prepared at once; when the client
// goes away, so does the work.
func (d *door) withPlan(c *gin.Context, asked plan, show func(*orchestration.Plan, orchestration.Report)) {
	request, err := d.planned(c, asked.query)
	request.Compare = asked.compare
	if err != nil {
		_ = c.Error(err)
		return
	}
	ctx, done, err := d.turn(c)
	if err != nil {
		_ = c.Error(err)
		return
	}
	defer done()
	plan, err := d.Submitter.Prepare(ctx, request)
	if err != nil {
		_ = c.Error(err)
		return
	}
	defer plan.Close()
	report := plan.Report()
	tell(c, "period", report.Period)
	show(plan, report)
}

// planned reads the query of a plan, which is of one period and one source.
func (d *door) planned(c *gin.Context, query url.Values) (r orchestration.Request, err error) {
	chosen, err := querySelection(query)
	if err != nil {
		return r, err
	}
	sources, err := chosen.configured(d)
	if err != nil {
		return r, err
	}
	if len(sources) != 1 {
		return r, bad("data set "+chosen.dataSet+" has several sources, and this is about one", "choose one with cht: "+strings.Join(sources, ", "))
	}
	if err := orchestration.CheckPeriod(chosen.period); err != nil {
		return r, err
	}
	tell(c, "data_set", chosen.dataSet)
	tell(c, "source", sources[0])
	return orchestration.Request{
		DataSet: chosen.dataSet, Period: chosen.period, CHT: sources[0], OrgUnits: chosen.orgUnits, RequestedBy: requester(c),
	}, nil
}

// unfit is why a plan holds nothing to hand out; nil where it does.
func unfit(r orchestration.Report) error {
	if r.Error == "" {
		return nil
	}
	p := &problem{status: http.StatusBadGateway, failure: failure{Error: r.Error, Remedy: r.Remedy, Code: string(r.Reason), Report: &r}}
	switch r.Reason {
	case orchestration.NothingAccepted:
		p.status = http.StatusConflict
	case orchestration.CHTUnavailable, orchestration.DHIS2Unavailable:
		p.status, p.retryAfter, p.Code = http.StatusServiceUnavailable, time.Minute, "unavailable"
	case orchestration.Stopped:
		return context.Canceled
	case orchestration.Configuration, orchestration.Credentials:
	default:
		return errors.New(r.Error)
	}
	return p
}

// giveTime lets a request take longer than the server's time-outs allow.
func giveTime(c *gin.Context, d time.Duration) {
	control, until := http.NewResponseController(c.Writer), time.Now().Add(d)
	_ = control.SetReadDeadline(until) // else the server takes the client for gone
	_ = control.SetWriteDeadline(until)
}

// stream writes an answer of any size, as long as the client goes on reading it.
func stream(c *gin.Context, write func(io.Writer) error) {
	c.Status(http.StatusOK)
	const piece = 64 << 10
	w := bufio.NewWriterSize(moving{c.Writer, http.NewResponseController(c.Writer)}, piece)
	err := write(w)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		_ = c.Error(err)
	}
}

// moving writes with a time-out for each piece.
type moving struct {
	io.Writer

	control *http.ResponseController
}

func (m moving) Write(text []byte) (int, error) {
	_ = m.control.SetWriteDeadline(time.Now().Add(stall)) // a writer without deadlines is one that waits for nobody
	return m.Writer.Write(text)
}
