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
func stub(orgUnits, elements int) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	plain := month(orgUnits, elements)
	var packed bytes.Buffer
	packer, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	_, _ = packer.Write(plain)
	_ = packer.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v2/export/dhis", func(w http.ResponseWriter, r *http.Request) {
		body := plain
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			body = packed.Bytes()
			w.Header().Set("Content-Encoding", "gzip")
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
	for path, answer := range map[string]any{
		"GET /api/deploy-info": map[string]any{"version": "5.2.0"},
		"GET /api/v1/settings": map[string]any{"dhis_data_sets": []any{map[string]any{"id": benchSet}}},
		"GET /api/system/info": map[string]any{"version": "2.43.1", "calendar": "iso8601"},
		"GET /api/dataSets/" + benchSet: map[string]any{
			"id": benchSet, "name": "Bench", "periodType": "Monthly", "access": map[string]any{"data": map[string]any{"write": true}},
			"categoryCombo": map[string]any{"isDefault": true, "categoryOptionCombos": []any{map[string]any{"id": "HllvX50cXC0"}}},
		},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, answer) })
	}
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

// month is an export in the form of CHT's, with a few fields more than DHIS2 takes, as real ones have.
func month(orgUnits, elements int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"dataSet":%q,"completeDate":"2026-11-22","period":%q,"dataValues":[`, benchSet, benchPeriod)
	for o := range orgUnits {
		for e := range elements {
			if o+e > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"dataElement":"DeB%08d","orgUnit":"OuB%08d","projectCode":"benchmark-0000001","value":%d}`, e, o, 1+(o*7+e*13)%97)
		}
	}
	b.WriteString("]}")
	return b.Bytes()
}
