package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/x/mongo/driver/wiremessage"
)

// translator stands between drivers that speak OP_QUERY and a database that takes OP_MSG.
type translator struct {
	// socket is the database's.
	socket string
	// one holds the commands of all connections in a row.
	one sync.Mutex
}

// opQuery is the kind of message that old drivers send.
const opQuery wiremessage.OpCode = 2004

// converse serves one connection until it ends. The error is io.EOF when the driver has hung up.
func (t *translator) converse(driver net.Conn) error {
	database, err := (&net.Dialer{}).DialContext(context.Background(), "unix", t.socket)
	if err != nil {
		return err
	}
	defer func() { _ = database.Close() }()
	for {
		message, err := readMessage(driver)
		if err != nil {
			return err
		}
		_, id, _, kind, rest, _ := wiremessage.ReadHeader(message)
		switch kind {
		case opQuery:
		case wiremessage.OpKillCursors: // wants no answer, and a cursor ends with its connection
			continue
		default:
			return fmt.Errorf("a driver sent %s, which the OpenHIM core of this test does not", kind)
		}
		command, err := commandOf(rest)
		if err != nil {
			return err
		}
		answer, err := t.ask(database, id, command)
		if err != nil {
			return err
		}
		if _, err := driver.Write(replyMessage(id, answer)); err != nil {
			return err
		}
	}
}

// ask sends the database one command and waits for its answer.
func (t *translator) ask(database net.Conn, id int32, command bsoncore.Document) (bsoncore.Document, error) {
	t.one.Lock()
	defer t.one.Unlock()
	if _, err := database.Write(commandMessage(id, command)); err != nil {
		return nil, err
	}
	message, err := readMessage(database)
	if err != nil {
		return nil, err
	}
	_, _, _, kind, rest, _ := wiremessage.ReadHeader(message)
	flags, rest, ok := wiremessage.ReadMsgFlags(rest)
	section, rest, isSection := wiremessage.ReadMsgSectionType(rest)
	answer, _, isDocument := wiremessage.ReadMsgSectionSingleDocument(rest)
	if kind != wiremessage.OpMsg || flags != 0 || !ok || !isSection || section != wiremessage.SingleDocument || !isDocument {
		return nil, errors.New("the database gave an answer of another form than a command has")
	}
	return answer, nil
}

const (
	headerSize = 16
	// maxMessage is what MongoDB takes.
	maxMessage = 48_000_000
)

// readMessage reads one whole message with its header.
func readMessage(from io.Reader) ([]byte, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(header)
	if size < headerSize || size > maxMessage {
		return nil, fmt.Errorf("a message says that it has %d bytes", size)
	}
	message := append(header, make([]byte, size-headerSize)...)
	_, err := io.ReadFull(from, message[headerSize:])
	return message, err
}

// commandOf reads an OP_QUERY, which has to be a command, and gives the command as OP_MSG has it. An OP_QUERY has four
// bytes of flags, the name of a collection, two numbers of four bytes, and the document.
func commandOf(query []byte) (bsoncore.Document, error) {
	const flags, numbers = 4, 8
	collection, rest, isText := bytes.Cut(query[min(flags, len(query)):], []byte{0})
	database, isCommand := bytes.CutSuffix(collection, []byte(".$cmd"))
	document, _, isDocument := bsoncore.ReadDocument(rest[min(numbers, len(rest)):])
	if !isText || !isCommand || !isDocument {
		return nil, fmt.Errorf("a query on %q is no command", collection)
	}
	if wrapped, ok := document.Lookup("$query").DocumentOK(); ok { // beside it stands the read preference
		document = wrapped
	}
	elements, err := document.Elements()
	if err != nil {
		return nil, err
	}
	command := bsoncore.NewDocumentBuilder()
	for _, e := range elements {
		if fields, ok := e.Value().DocumentOK(); ok && e.Key() == "fields" && len(fields) == emptyDocument {
			continue // findAndModify for all fields; FerretDB takes only its absence
		}
		value, err := modern(e.Value())
		if err != nil {
			return nil, err
		}
		command.AppendValue(e.Key(), value)
	}
	return command.AppendString("$db", string(database)).Build(), nil
}

// emptyDocument is the length of a document without elements.
const emptyDocument = 5

// modern gives a value in which every {$pushAll: {list: [...]}} is {$push: {list: {$each: [...]}}}, at any depth.
func modern(value bsoncore.Value) (bsoncore.Value, error) {
	if value.Type != bson.TypeEmbeddedDocument && value.Type != bson.TypeArray {
		return value, nil
	}
	elements, err := bsoncore.Document(value.Data).Elements() // an array is a document with numbers for keys
	if err != nil {
		return value, err
	}
	changed := bsoncore.NewDocumentBuilder()
	for _, e := range elements {
		key, inner := e.Key(), e.Value()
		if key == "$pushAll" {
			key, inner = "$push", each(inner)
		}
		if inner, err = modern(inner); err != nil {
			return value, err
		}
		changed.AppendValue(key, inner)
	}
	return bsoncore.Value{Type: value.Type, Data: changed.Build()}, nil
}

// each wraps the lists of a $pushAll, as $push wants them.
func each(lists bsoncore.Value) bsoncore.Value {
	elements, _ := bsoncore.Document(lists.Data).Elements()
	wrapped := bsoncore.NewDocumentBuilder()
	for _, e := range elements {
		wrapped.AppendDocument(e.Key(), bsoncore.NewDocumentBuilder().AppendValue("$each", e.Value()).Build())
	}
	return bsoncore.Value{Type: bson.TypeEmbeddedDocument, Data: wrapped.Build()}
}

// commandMessage writes a command as OP_MSG.
func commandMessage(id int32, command bsoncore.Document) []byte {
	start, message := wiremessage.AppendHeaderStart(nil, id, 0, wiremessage.OpMsg)
	message = wiremessage.AppendMsgFlags(message, 0)
	message = wiremessage.AppendMsgSectionType(message, wiremessage.SingleDocument)
	return finished(message, start, command)
}

// replyMessage writes an answer as OP_REPLY: a flag that every server has long set, the numbers of a cursor that there
// is not, how many documents there are, and the one document.
func replyMessage(to int32, answer bsoncore.Document) []byte {
	const awaitCapable = 8
	start, message := wiremessage.AppendHeaderStart(nil, to, to, wiremessage.OpReply)
	message = binary.LittleEndian.AppendUint32(message, awaitCapable)
	message = binary.LittleEndian.AppendUint64(message, 0)
	message = binary.LittleEndian.AppendUint32(message, 0)
	message = binary.LittleEndian.AppendUint32(message, 1)
	return finished(message, start, answer)
}

// finished ends a message with its document, and writes its length at its start.
func finished(message []byte, start int32, document bsoncore.Document) []byte {
	message = append(message, document...)
	return bsoncore.UpdateLength(message, start, int32(len(message))) //nolint:gosec // at most maxMessage came in
}
