package main

import _ "embed"

// peerScript is the plain client.
//
//go:embed peer.mjs
var peerScript []byte
