package handlers

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"unicode"

	"github.com/gin-gonic/gin"

	"github.com/cht-dhis2/mediator/internal/openhim"
)

// OpenHIM's router says by these headers which transaction a request belongs to, who sent it, which former transaction
// it runs again, and that a polling channel sent it.
const (
	transactionHeader = "X-Openhim-Transactionid"
	clientHeader      = "X-Openhim-Clientid"
	parentHeader      = "Parentid"
	pollingHeader     = "Channel-Id"
)

// transactionOf is the transaction of OpenHIM that brought a request; empty for a direct one.
func transactionOf(c *gin.Context) string { return idIn(c, transactionHeader) }

// parentOf is the transaction that is run again.
func parentOf(c *gin.Context) string {
	if transactionOf(c) == "" {
		return ""
	}
	return idIn(c, parentHeader)
}

func idIn(c *gin.Context, header string) string {
	if id := c.GetHeader(header); openhim.IsID(id) {
		return id
	}
	return ""
}

// requester is who asks, in the words of a report.
func requester(c *gin.Context) string {
	if transactionOf(c) == "" {
		return c.GetString(callerKey)
	}
	client := printable(c.GetHeader(clientHeader))
	switch {
	case client != "":
		return "OpenHIM client " + client
	case c.GetHeader(pollingHeader) != "":
		return "OpenHIM polling"
	default:
		return "OpenHIM"
	}
}

// printable is a text of somebody else's, fit to be shown: its first hundred characters that can be printed.
func printable(text string) string {
	const most = 100
	kept := make([]rune, 0, most)
	for _, r := range strings.ToValidUTF8(text, "") {
		if !unicode.IsPrint(r) {
			continue
		}
		if kept = append(kept, r); len(kept) == most {
			break
		}
	}
	return strings.TrimSpace(string(kept))
}

// maxEnveloped is how large an answer may be in an envelope. OpenHIM stores it twice, and openhim.Transaction.Envelope
// cuts what is larger.
const maxEnveloped = 500_000

// envelope gathers an answer, so that OpenHIM gets it in its own format.
type envelope struct {
	gin.ResponseWriter

	code int
	body bytes.Buffer
	// status is what becomes of the transaction; empty leaves it to the code.
	status     openhim.Status
	properties map[string]string
}

// envelop puts an answer into an envelope where OpenHIM brought the request.
func (d *door) envelop(c *gin.Context) {
	id := transactionOf(c)
	if id == "" || c.Request.Method == http.MethodHead {
		return
	}
	c.Request.Header.Del("Accept-Encoding") // bodies in an envelope are text
	e := &envelope{ResponseWriter: c.Writer, code: http.StatusOK, properties: map[string]string{}}
	c.Writer = e
	c.Next()
	c.Writer = e.ResponseWriter
	d.send(c, e, id)
}

// send writes the envelope. The outer status is that of the answer: OpenHIM does not look at it where there is a word for
// the transaction.
func (d *door) send(c *gin.Context, e *envelope, id string) {
	header := c.Writer.Header()
	answer := openhim.Response{Status: e.code, Headers: openhim.Headers{}, Body: e.body.String(), Timestamp: openhim.At(d.Now())}
	for _, name := range []string{"Content-Type", "Content-Disposition", "Location", "Retry-After", "Www-Authenticate", "Allow", quarantinedHeader} {
		if values := header[name]; len(values) > 0 {
			answer.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	t := openhim.Transaction{ID: id, Status: e.status, Response: &answer, Properties: e.properties}
	if t.Status == "" {
		t.Status = statusOf(e.code)
	}
	text, err := json.Marshal(t.Envelope(d.URN))
	if err != nil { // it is made of texts and numbers
		d.Log.WithError(err).Error("an answer does not fit into OpenHIM's envelope")
		c.Writer.WriteHeader(http.StatusInternalServerError)
		return
	}
	header.Del("Content-Type")
	c.Data(e.code, openhim.EnvelopeType, text)
}

// statusOf is the word for a transaction that was answered with a code, as OpenHIM itself gives it.
func statusOf(code int) openhim.Status {
	switch {
	case code >= http.StatusInternalServerError:
		return openhim.Failed
	case code >= http.StatusMultipleChoices:
		return openhim.Completed
	default:
		return openhim.Successful
	}
}

// tell adds a property to the transaction, where there is one.
func tell(c *gin.Context, name, value string) {
	if e, ok := c.Writer.(*envelope); ok && value != "" {
		e.properties[name] = value
	}
}

// Unwrap gives the writer below to http.ResponseController.
func (e *envelope) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// WriteHeader notes the code.
func (e *envelope) WriteHeader(code int) {
	if code > 0 {
		e.code = code
	}
}

// WriteHeaderNow writes nothing yet.
func (e *envelope) WriteHeaderNow() {}

// Flush writes nothing yet.
func (e *envelope) Flush() {}

// Write gathers.
func (e *envelope) Write(text []byte) (int, error) {
	if e.body.Len()+len(text) > maxEnveloped {
		return 0, tooLarge
	}
	return e.body.Write(text)
}

// WriteString gathers.
func (e *envelope) WriteString(text string) (int, error) { return e.Write([]byte(text)) }

// Status is the code of the answer.
func (e *envelope) Status() int { return e.code }

// Size is how much was gathered.
func (e *envelope) Size() int { return e.body.Len() }

// Written says that nothing has left: until the end an error can still take the place of an answer.
func (e *envelope) Written() bool { return false }
