package statesidecar

import (
	"errors"
	"testing"
	"time"

	pb "statesidecar.internal/statesidecar/v1"
)

func TestEveryKindOfReplyTellsVersions(t *testing.T) {
	transacted := &pb.TransactResponse{Version: 11, Results: []*pb.TransactResult{
		{},
		{Result: &pb.TransactResult_Set{Set: &pb.SetResponse{Version: 11}}},
	}}
	restored := &pb.RestoreResponse{Entries: []*pb.Entry{{Namespace: "n", Key: "k", Version: 12}}, Version: 12}
	batch := &pb.BatchGetResponse{Results: []*pb.BatchGetResult{
		{Entry: &pb.Entry{Namespace: "n", Key: "k", Version: 13}},
	}}
	client, server := script(t, replies(transacted), fine, replies(restored), fine, replies(batch), fine)
	floor := func() int64 {
		if _, err := client.State.Get(t.Context(), &pb.GetRequest{Namespace: "n", Key: "k"}); err != nil {
			t.Fatal(err)
		}
		return server.got[len(server.got)-1].(*pb.GetRequest).GetMinVersion()
	}
	_, err := client.State.Transact(t.Context(), &pb.TransactRequest{Namespace: "n", Operations: []*pb.TransactOperation{
		{Operation: &pb.TransactOperation_Check{Check: &pb.Check{Key: "other"}}},
		{Operation: &pb.TransactOperation_Set{Set: &pb.SetRequest{Key: "k"}}},
	}})
	if got := floor(); got != 11 || err != nil {
		t.Errorf("of a transaction: %d %v", got, err)
	}
	_, err = client.State.Restore(t.Context(), &pb.RestoreRequest{Namespace: "n", CheckpointId: "c"})
	if got := floor(); got != 12 || err != nil {
		t.Errorf("of a checkpoint: %d %v", got, err)
	}
	_, err = client.State.BatchGet(t.Context(), &pb.BatchGetRequest{Namespace: "n", Keys: []string{"k"}})
	if got := floor(); got != 13 || err != nil {
		t.Errorf("of a batch: %d %v", got, err)
	}
}

func TestASessionSaysWhatItWasToldTo(t *testing.T) {
	client, server := script(t, fine, fine)
	s, err := Load[chat](t.Context(), client, "n", "k", WithSchema(4), WithTTL(time.Minute), WithStrong())
	if err != nil {
		t.Fatal(err)
	}
	s.State.Turns = []string{"a"}
	if err := s.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	loaded, saved := server.got[0].(*pb.GetRequest), server.got[1].(*pb.CASRequest)
	if loaded.GetMaxSchemaVersion() != 4 || loaded.GetConsistency() != pb.Consistency_CONSISTENCY_STRONG {
		t.Errorf("%v", loaded)
	}
	if saved.GetSchemaVersion() != 4 || saved.GetTtl().AsDuration() != time.Minute || saved.GetExpectedVersion() != 0 {
		t.Errorf("%v", saved)
	}
}

func TestNothingIsLoadedWhileTheAuthorityIsAway(t *testing.T) {
	client, _ := script(t, replies(&pb.GetResponse{Mode: pb.ServingMode_SERVING_MODE_PASSTHROUGH}))
	_, err := Update(t.Context(), client, "n", "k", func(*Session[chat]) error {
		t.Error("the change was made to nothing")
		return nil
	})
	var away *Error
	if !errors.Is(err, ErrUnavailable) || !errors.As(err, &away) || away.Reason != passthrough {
		t.Error(err)
	}
}

func TestThatThereIsNothingToDoIsTrueOnlyOfTheNewestState(t *testing.T) {
	client, server := script(t, fine, fine)
	if _, err := Update(t.Context(), client, "n", "k", func(*Session[chat]) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if last := server.got[1].(*pb.GetRequest); last.GetConsistency() != pb.Consistency_CONSISTENCY_STRONG {
		t.Errorf("%v", last)
	}
}
