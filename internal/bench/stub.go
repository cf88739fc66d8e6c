package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// A stub answers as fast as it can, in a process of its own, so that its work is not counted with a client's.

const (
	benchSet    = "DsBench0001"
	benchPeriod = "202609"
)

// stub serves a CHT and a DHIS2 on one loopback port, prints its address and ends with its standard input.
//
// The path /set says what the stubs hold: changed=N lets the CHT say one more in every N-th value, 0 in none; holds=true lets
// the DHIS2 hold the month, as it is before such a change, and otherwise it holds nothing.
func stub(orgUnits, elements int) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	var plain, packed, held []byte
	set := func(changed int, holds bool) {
		plain, held = month(orgUnits, elements, changed), packedValues(0, 0)
		packed = pack(plain)
		if holds {
			held = packedValues(orgUnits, elements)
		}
	}
	set(0, false)
	docs := newDocumentStub(orgUnits, elements)
	docs.serve(mux)
	mux.HandleFunc("GET /set", func(_ http.ResponseWriter, r *http.Request) {
		changed, _ := strconv.Atoi(r.FormValue("changed"))
		docs.changed.Store(int64(changed))
		set(changed, r.FormValue("holds") == "true")
	})
	mux.HandleFunc("GET /api/dataValueSets", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		_, _ = w.Write(held)
	})
	mux.HandleFunc("GET /api/v2/export/dhis", func(w http.ResponseWriter, r *http.Request) {
		body := plain
		if period := askedPeriod(r); period != benchPeriod {
			body = bytes.Replace(plain, []byte(benchPeriod), []byte(period), 1)
		} else if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			body = packed
			w.Header().Set("Content-Encoding", "gzip")
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
	for path, answer := range map[string]any{
		"GET /api/deploy-info": map[string]any{"version": "5.2.0"},
		"GET /api/v1/settings": map[string]any{
			"dhis_data_sets": []any{map[string]any{"id": benchSet}}, "tasks": map[string]any{"targets": targetSettings(elements)},
		},
		"GET /api/me": map[string]any{
			"username": "bench", "authorities": []string{"F_DATAVALUE_ADD"}, "organisationUnits": []any{map[string]any{"id": "OuBenchRoot", "path": "/OuBenchRoot"}},
		},
		"GET /api/system/info":          map[string]any{"version": "2.43.1", "calendar": "iso8601"},
		"GET /api/dataSets/" + benchSet: dataSet(elements),
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, answer) })
	}
	mux.HandleFunc("GET /api/organisationUnits", func(w http.ResponseWriter, r *http.Request) { answerJSON(w, page(r, orgUnits)) })
	mux.HandleFunc("POST /api/dataValueSets", importStub)
	if _, err := fmt.Println("http://" + listener.Addr().String()); err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// dataSet is the data set, as a DHIS2 gives it with so many elements.
func dataSet(elements int) map[string]any {
	combo := map[string]any{"id": "bjDvmb4bfuf", "isDefault": true, "categoryOptionCombos": []any{map[string]any{"id": "HllvX50cXC0"}}}
	members := make([]any, elements)
	for e := range members {
		members[e] = map[string]any{"dataElement": map[string]any{
			"id": fmt.Sprintf("DeB%08d", e), "code": fmt.Sprintf("BENCH_%d", e), "name": fmt.Sprintf("Bench element %d", e),
			"valueType": "INTEGER_ZERO_OR_POSITIVE", "zeroIsSignificant": true, "aggregationType": "SUM", "categoryCombo": combo,
		}}
	}
	return map[string]any{
		"id": benchSet, "name": "Bench", "periodType": "Monthly", "access": map[string]any{"data": map[string]any{"read": true, "write": true}},
		"categoryCombo": combo, "dataSetElements": members,
	}
}

// page is the page that is asked for of the org units, all of which have the data set.
func page(r *http.Request, orgUnits int) map[string]any {
	size, _ := strconv.Atoi(r.FormValue("pageSize"))
	number, _ := strconv.Atoi(r.FormValue("page"))
	size, number = max(size, 1), max(number, 1)
	var units []any
	for o := (number - 1) * size; o < min(number*size, orgUnits); o++ {
		id := fmt.Sprintf("OuB%08d", o)
		units = append(units, map[string]any{
			"id": id, "code": fmt.Sprintf("FACILITY_%d", o), "name": fmt.Sprintf("Facility %d", o), "openingDate": "2000-01-01T00:00:00.000",
			"path": fmt.Sprintf("/OuBenchRoot/OuBenchRg%02d/OuBenchDi%02d/%s", o%10, o%100, id),
		})
	}
	pager := map[string]any{"page": number, "pageSize": size, "total": orgUnits, "pageCount": (orgUnits + size - 1) / size}
	return map[string]any{"pager": pager, "organisationUnits": units}
}

// askedPeriod is the month that an export is asked for.
func askedPeriod(r *http.Request) string {
	ms, err := strconv.ParseInt(r.FormValue("filters[date][from]"), 10, 64)
	if err != nil {
		return benchPeriod
	}
	return time.UnixMilli(ms).UTC().Format("200601")
}

// importStub reads an import to its end and answers that all of its values were stored.
func importStub(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		var reader *gzip.Reader
		if reader, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(reader)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n := bytes.Count(body, []byte(`"value":`))
	answerJSON(w, map[string]any{
		"httpStatus": "OK", "httpStatusCode": 200, "status": "OK", "message": "Import was successful.",
		"response": map[string]any{
			"responseType": "ImportSummary", "status": "SUCCESS", "conflicts": []any{}, "rejectedIndexes": []any{},
			"importCount": map[string]int{"imported": 0, "updated": n, "ignored": 0, "deleted": 0},
		},
	})
}

func answerJSON(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	_ = json.NewEncoder(w).Encode(answer)
}

func pack(text []byte) []byte {
	var packed bytes.Buffer
	packer, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	_, _ = packer.Write(text)
	_ = packer.Close()
	return packed.Bytes()
}

func valueOf(orgUnit, element int) int { return 1 + (orgUnit*7+element*13)%97 }

// packedValues is what a DHIS2 2.43 holds of the month, as it answers a read.
func packedValues(orgUnits, elements int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"dataSet":%q,"period":%q,"dataValues":[`, benchSet, benchPeriod)
	for o := range orgUnits {
		for e := range elements {
			if o+e > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"dataElement":"DeB%08d","orgUnit":"OuB%08d","categoryOptionCombo":"HllvX50cXC0","attributeOptionCombo":"HllvX50cXC0","value":"%d",`+
				`"storedBy":"bench","created":"2026-10-05T09:38:09.574+0000","lastUpdated":"2026-10-05T09:38:09.574+0000"}`, e, o, valueOf(o, e))
		}
	}
	b.WriteString("]}")
	return pack(b.Bytes())
}

// month is an export in the form of CHT's, with a few fields more than DHIS2 takes, as real ones have.
func month(orgUnits, elements, changed int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"dataSet":%q,"completeDate":"2026-11-22","period":%q,"dataValues":[`, benchSet, benchPeriod)
	for o := range orgUnits {
		for e := range elements {
			if o+e > 0 {
				b.WriteByte(',')
			}
			value := valueOf(o, e)
			if changed > 0 && (o*elements+e)%changed == 0 {
				value++
			}
			fmt.Fprintf(&b, `{"dataElement":"DeB%08d","orgUnit":"OuB%08d","projectCode":"benchmark-0000001","value":%d}`, e, o, value)
		}
	}
	b.WriteString("]}")
	return b.Bytes()
}
