package statesidecar

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	pb "statesidecar.internal/statesidecar/v1"
)

// selfSigned is a certificate for 127.0.0.1 and its own authority.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, known
}

func TestTLSOfBothSidesAndATokenReachTheServer(t *testing.T) {
	certificate, known := selfSigned(t)
	var tokens []string
	target := serve(t, func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
		told, _ := metadata.FromIncomingContext(ctx)
		tokens = append(tokens, told["authorization"]...)
		return &pb.GetResponse{}, nil
	}, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientCAs: known, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	get := func(options Options) error {
		options.Target, options.Timeout = target, 300*time.Millisecond
		client, err := New(options)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_, err = client.State.Get(t.Context(), &pb.GetRequest{Namespace: "n", Key: "k"})
		return err
	}
	mine := &tls.Config{RootCAs: known, Certificates: []tls.Certificate{certificate}}
	token := func(context.Context) (string, error) { return "secret", nil }
	if err := get(Options{TLS: mine, Token: token}); err != nil {
		t.Fatal(err)
	}
	if len(tokens) != 1 || tokens[0] != "Bearer secret" {
		t.Errorf("%q", tokens)
	}
	for name, options := range map[string]Options{
		"no certificate":       {TLS: &tls.Config{RootCAs: known}},
		"an unknown authority": {TLS: &tls.Config{Certificates: mine.Certificates}},
		"plain text":           {},
	} {
		if err := get(options); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, none := range map[string]func(context.Context) (string, error){
		"empty":   func(context.Context) (string, error) { return "", nil },
		"missing": TokenFile("/nonexistent/token"),
	} {
		if err := get(Options{TLS: mine, Token: none}); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(tokens) != 1 {
		t.Errorf("a call went out without credentials: %q", tokens)
	}
}
