package statesidecar_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"os"

	"statesidecar.internal/statesidecar"
	pb "statesidecar.internal/statesidecar/v1"
)

type Chat struct {
	Turns []string `json:"turns"`
}

func Example() {
	ctx := context.Background()
	client, err := statesidecar.New(statesidecar.Options{}) // $STATE_SIDECAR_TARGET, else 127.0.0.1:7420
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	session, err := statesidecar.Load[Chat](ctx, client, "session", "example")
	if err != nil {
		log.Fatal(err)
	}
	session.State.Turns = append(session.State.Turns, "hello")
	if err := session.Save(ctx); errors.Is(err, statesidecar.ErrVersionConflict) {
		fmt.Println("another writer was faster")
	}
	fmt.Println(session.State.Turns[len(session.State.Turns)-1])
	// Output: hello
}

func ExampleUpdate() {
	ctx := context.Background()
	client, err := statesidecar.New(statesidecar.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	session, err := statesidecar.Update(ctx, client, "process", "order-7", func(s *statesidecar.Session[Chat]) error {
		s.State.Turns = append(s.State.Turns, "approved")
		s.Outbox = append(s.Outbox, &pb.OutboxMessage{Topic: "order.approved"})
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(session.State.Turns[len(session.State.Turns)-1])
	// Output: approved
}

func ExampleOptions() {
	certificates := &tls.Config{ServerName: os.Getenv("STATE_SIDECAR_NAME")}
	client, err := statesidecar.New(statesidecar.Options{
		Target: "10.0.0.7:7420",
		TLS:    certificates,
		Token:  statesidecar.TokenFile("/var/run/secrets/tokens/state-sidecar"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	fmt.Println(client.Target())
	// Output: 10.0.0.7:7420
}

func ExampleError() {
	ctx := context.Background()
	client, err := statesidecar.New(statesidecar.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = client.State.CAS(ctx, &pb.CASRequest{Namespace: "session", Key: "absent", ExpectedVersion: 1})
	var failed *statesidecar.Error
	if errors.As(err, &failed) && errors.Is(err, statesidecar.ErrVersionConflict) {
		fmt.Println(failed.Reason, failed.Conflict.GetCurrentVersion())
	}
	// Output: VERSION_MISMATCH 0
}
