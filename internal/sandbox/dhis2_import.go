package sandbox

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// dhis2Options are what a request asks of an import, from its query and its body.
type dhis2Options struct {
	dryRun, force, atomic bool
	strategy              string
	// scheme is how ids are told, by what they stand for; "" holds for all others.
	scheme map[string]string
	// strict and require are the checks that up to 2.42 are made on demand.
	strictPeriods, strictElements, strictCombos, strictAttributes, strictPlaces bool
	requireCombo, requireAttribute                                              bool
}

// dhis2Schemes gives the parameters that tell a scheme, by what it is for.
func dhis2Schemes() map[string]string {
	return map[string]string{
		"": "idScheme", "dataSet": "dataSetIdScheme", "dataElement": "dataElementIdScheme", "orgUnit": "orgUnitIdScheme",
		"combo": "categoryOptionComboIdScheme", "attribute": "attributeOptionComboIdScheme",
	}
}

// readOptions reads the query. It gives the name of the first parameter that makes no sense.
func readOptions(query url.Values) (dhis2Options, string) {
	o := dhis2Options{strategy: query.Get("importStrategy"), scheme: map[string]string{}}
	if o.strategy == "" {
		o.strategy = query.Get("strategy")
	}
	for use, name := range dhis2Schemes() {
		o.scheme[use] = query.Get(name)
	}
	flags := []struct {
		name string
		to   *bool
	}{
		{"dryRun", &o.dryRun}, {"force", &o.force}, {"atomic", &o.atomic},
		{"strictPeriods", &o.strictPeriods}, {"strictDataElements", &o.strictElements},
		{"strictCategoryOptionCombos", &o.strictCombos}, {"strictAttributeOptionCombos", &o.strictAttributes},
		{"strictOrganisationUnits", &o.strictPlaces},
		{"requireCategoryOptionCombo", &o.requireCombo}, {"requireAttributeOptionCombo", &o.requireAttribute},
	}
	for _, flag := range flags {
		text := query.Get(flag.name)
		if text == "" {
			continue
		}
		value, err := strconv.ParseBool(text)
		if err != nil {
			return o, flag.name
		}
		*flag.to = value
	}
	return o, ""
}

// readBody lets the body have its say, which counts before the query's.
func (o *dhis2Options) readBody(body jsonValue) {
	if dryRun := body.get("dryRun"); dryRun.there() {
		o.dryRun = dryRun.bool()
	}
	if strategy := body.get("strategy"); strategy.there() {
		o.strategy = strategy.string()
	}
	for use, name := range dhis2Schemes() {
		if scheme := body.get(name); scheme.there() {
			o.scheme[use] = scheme.string()
		}
	}
}

// schemeOf tells how ids of that use are told. Up to 2.42 the attribute's go with the combination's.
func (o *dhis2Options) schemeOf(use string, legacy bool) string {
	if legacy && use == "attribute" {
		use = "combo"
	}
	if scheme := o.scheme[use]; scheme != "" {
		return strings.ToUpper(scheme)
	}
	if scheme := o.scheme[""]; scheme != "" {
		return strings.ToUpper(scheme)
	}
	return "UID"
}

// deletes tells whether the values are to be deleted.
func (o *dhis2Options) deletes() bool { return strings.EqualFold(o.strategy, "DELETE") }

// echo is what an answer says of the options.
func (o *dhis2Options) echo() map[string]any {
	strategy := o.strategy
	if strategy == "" {
		strategy = "CREATE_AND_UPDATE"
	}
	return map[string]any{
		"idSchemes": map[string]any{}, "dryRun": o.dryRun, "async": false, "importStrategy": strategy,
		"strictPeriods": o.strictPeriods, "strictDataElements": o.strictElements,
	}
}

// dhis2Summary is what an import has come to.
type dhis2Summary struct {
	ResponseType  string          `json:"responseType"`
	Status        string          `json:"status"`
	Description   string          `json:"description,omitempty"`
	ImportOptions any             `json:"importOptions"`
	ImportCount   dhis2Count      `json:"importCount"`
	Conflicts     []dhis2Conflict `json:"conflicts"`
	// RejectedIndexes is nil where the server does not tell it.
	RejectedIndexes []int  `json:"rejectedIndexes,omitzero"`
	DataSetComplete string `json:"dataSetComplete,omitempty"`
}

// dhis2Count counts values by what became of them.
type dhis2Count struct {
	Imported int `json:"imported"`
	Updated  int `json:"updated"`
	Ignored  int `json:"ignored"`
	Deleted  int `json:"deleted"`
}

// dhis2Conflict is what was wrong with some values.
type dhis2Conflict struct {
	Object    string            `json:"object,omitempty"`
	Objects   map[string]string `json:"objects,omitzero"`
	Value     string            `json:"value"`
	ErrorCode string            `json:"errorCode,omitempty"`
	Property  string            `json:"property,omitempty"`
	Indexes   []int             `json:"indexes,omitempty"`
}

// newSummary gives a summary of nothing, in the state of success.
func newSummary(options *dhis2Options) *dhis2Summary {
	return &dhis2Summary{
		ResponseType: "ImportSummary", Status: "SUCCESS", ImportOptions: options.echo(),
		Conflicts: []dhis2Conflict{}, RejectedIndexes: []int{},
	}
}

// envelope wraps the summary up.
func (s *dhis2Summary) envelope(legacy bool) dhis2Envelope {
	e := dhis2Envelope{HTTPStatus: "OK", HTTPStatusCode: http.StatusOK, Status: "OK", Message: "Import was successful.", Response: s}
	switch {
	case s.Status == "WARNING" && legacy:
		e.Message = "One more conflicts encountered, please check import summary."
	case s.Status == "WARNING":
		e.Status, e.Message = s.Status, "Import completed with warnings, please check import summary."
		return e
	case s.Status == "ERROR":
		e.Message = "An error occurred, please check import summary."
	default:
		return e
	}
	e.HTTPStatus, e.HTTPStatusCode, e.Status = "Conflict", http.StatusConflict, s.Status
	return e
}

// failure is why an import ended with an exception.
type failure struct {
	status  int
	message string
}

// dhis2Post is a set of values on its way into the store.
type dhis2Post struct {
	*DHIS2
	user    *DHIS2User
	options *dhis2Options
	body    jsonValue
	summary *dhis2Summary
	// fault is what the request suffers. Only those of the database matter here.
	fault FaultKind
}

// importValues imports what was posted. It tells whether the request came as far as the import.
func (d *DHIS2) importValues(w http.ResponseWriter, r *http.Request, user *DHIS2User, fault FaultKind) bool {
	if !user.can("F_DATAVALUE_ADD") {
		message := "Access is denied, requires one Authority from [F_DATAVALUE_ADD]"
		if d.version.minor < 41 {
			message = "Access is denied"
		}
		d.writeFailure(w, http.StatusForbidden, "", message)
		return false
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != jsonPlain {
		d.writeFailure(w, http.StatusUnsupportedMediaType, "", "Content-Type '"+media+"' is not supported")
		return false
	}
	options, wrong := readOptions(r.URL.Query())
	if wrong != "" {
		d.writeFailure(w, http.StatusBadRequest, "", "Value '"+r.URL.Query().Get(wrong)+"' is not valid for parameter "+wrong)
		return false
	}
	p := &dhis2Post{DHIS2: d, user: user, options: &options, summary: newSummary(&options), fault: fault}
	failed := p.read(r.Body)
	if failed == nil {
		d.mu.Lock()
		failed = p.run()
		d.mu.Unlock()
	}
	if failed != nil {
		d.writeFailure(w, failed.status, "", failed.message)
		return true
	}
	envelope := p.summary.envelope(d.version.legacy())
	d.writeJSON(w, envelope.HTTPStatusCode, envelope)
	return true
}

// run imports in the server's dialect. An import that was ended while it was read is not run.
func (p *dhis2Post) run() *failure {
	if p.summary.Status == "ERROR" {
		return nil
	}
	if p.version.legacy() {
		p.importEach()
		return nil
	}
	return p.importGroup()
}

// read unpacks and parses the body.
func (p *dhis2Post) read(from io.Reader) *failure {
	raw, err := io.ReadAll(from)
	if err != nil {
		return &failure{http.StatusInternalServerError, err.Error()}
	}
	data, err := unpack(raw)
	if err != nil {
		return p.unreadable("java.io.EOFException: Unexpected end of ZLIB input stream", http.StatusInternalServerError)
	}
	body, wrong := parseJSON(data)
	if wrong == nil && body.kind == kindObject {
		p.body = body
		p.options.readBody(body)
		p.summary.ImportOptions = p.options.echo()
		return nil
	}
	if wrong == nil {
		return p.readOther(body.kind)
	}
	class := "com.fasterxml.jackson.core.JsonParseException: "
	switch {
	case wrong.cut && len(wrong.open) > 0:
		class = "com.fasterxml.jackson.databind.JsonMappingException: "
	case wrong.cut:
		class = "com.fasterxml.jackson.databind.exc.MismatchedInputException: "
	}
	status := http.StatusBadRequest
	if wrong.cut && len(wrong.open) > 0 {
		status = http.StatusInternalServerError
	}
	return p.unreadable(class+javaError(data, wrong, "(BufferedInputStream)", "org.hisp.dhis.dxf2.datavalueset.DataValueSet"), status)
}

// readOther reads a body that is JSON but no object: 2.43 takes a list for nothing.
func (p *dhis2Post) readOther(kind jsonKind) *failure {
	if kind == kindList && !p.version.legacy() {
		return nil
	}
	return p.unreadable("com.fasterxml.jackson.databind.exc.MismatchedInputException: Cannot deserialize value of type "+
		"`org.hisp.dhis.dxf2.datavalueset.DataValueSet` from Array value (token `JsonToken.START_ARRAY`)\n"+
		" at [Source: (BufferedInputStream); line: 1, column: 1]", http.StatusBadRequest)
}

// unreadable ends an import whose body cannot be read. Up to 2.42 that is a summary, and from 2.42 on it says little.
func (p *dhis2Post) unreadable(words string, status int) *failure {
	if !p.version.legacy() {
		return &failure{status, words}
	}
	if !p.version.old() {
		words = "Post-condition was null"
	}
	p.fail(words)
	return nil
}

// fail ends the import up to 2.42.
func (p *dhis2Post) fail(words string) {
	p.summary.Status, p.summary.Description = "ERROR", "The import process failed: "+words
	p.summary.ImportCount, p.summary.DataSetComplete = dhis2Count{}, ""
	p.summary.Conflicts, p.summary.RejectedIndexes = []dhis2Conflict{}, []int{}
}

// unpack unpacks what begins as gzip or zip does, whatever the headers say. On an error it gives what came out.
func unpack(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte{0x1f, 0x8b}):
		reader, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(reader)
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil || len(archive.File) == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		file, err := archive.File[0].Open()
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		return io.ReadAll(file)
	}
	return data, nil
}
