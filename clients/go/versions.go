package statesidecar

import (
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	pb "statesidecar.internal/statesidecar/v1"
)

type keyed interface {
	GetNamespace() string
	GetKey() string
}

type versioned interface{ GetVersion() int64 }

// floored is the request with the floors of its keys, if it is a cached read that has none; else the request itself.
func (c *caller) floored(request proto.Message) proto.Message {
	switch request := request.(type) {
	case *pb.GetRequest:
		floor := c.floors.get(request.GetNamespace(), request.GetKey())
		if floor > 0 && request.GetMinVersion() == 0 && cached(request) {
			field := request.ProtoReflect().Descriptor().Fields().ByName("min_version")
			return with(request, field, protoreflect.ValueOfInt64(floor))
		}
	case *pb.BatchGetRequest:
		if len(request.GetMinVersions()) > 0 || !cached(request) {
			return request
		}
		floors := &pb.BatchGetRequest{}
		for _, key := range request.GetKeys() {
			floors.MinVersions = append(floors.MinVersions, c.floors.get(request.GetNamespace(), key))
		}
		if slices.Max(append(floors.MinVersions, 0)) > 0 {
			field := request.ProtoReflect().Descriptor().Fields().ByName("min_versions")
			return with(request, field, floors.ProtoReflect().Get(field))
		}
	}
	return request
}

func cached(request interface{ GetConsistency() pb.Consistency }) bool {
	return request.GetConsistency() != pb.Consistency_CONSISTENCY_STRONG
}

// forget drops the floors of a request that met another epoch; whether it may succeed now, as the caller made it.
func (c *caller) forget(request proto.Message) bool {
	switch request := request.(type) {
	case *pb.GetRequest:
		c.floors.forget(request.GetNamespace(), request.GetKey())
		return request.GetMinVersion() == 0
	case *pb.BatchGetRequest:
		for _, key := range request.GetKeys() {
			c.floors.forget(request.GetNamespace(), key)
		}
		return len(request.GetMinVersions()) == 0
	case keyed:
		c.floors.forget(request.GetNamespace(), request.GetKey())
	}
	return false
}

// observe remembers the versions that a reply brings.
func (c *caller) observe(request proto.Message, reply any) {
	switch reply := reply.(type) {
	case *pb.GetResponse:
		c.observeEntries(reply.GetEntry())
	case *pb.BatchGetResponse:
		for _, result := range reply.GetResults() {
			c.observeEntries(result.GetEntry())
		}
	case *pb.RestoreResponse:
		c.observeEntries(reply.GetEntries()...)
	case *pb.TransactResponse:
		if request, ok := request.(*pb.TransactRequest); ok {
			c.observeOperations(request, reply)
		}
	case versioned:
		if request, ok := request.(keyed); ok {
			c.floors.observe(request.GetNamespace(), request.GetKey(), reply.GetVersion())
		}
	}
}

func (c *caller) observeEntries(entries ...*pb.Entry) {
	for _, entry := range entries {
		c.floors.observe(entry.GetNamespace(), entry.GetKey(), entry.GetVersion())
	}
}

func (c *caller) observeOperations(request *pb.TransactRequest, reply *pb.TransactResponse) {
	results := reply.GetResults()
	for index, operation := range request.GetOperations()[:min(len(results), len(request.GetOperations()))] {
		op, named := chosen(operation).(keyed)
		done, versions := chosen(results[index]).(versioned)
		if named && versions {
			c.floors.observe(request.GetNamespace(), op.GetKey(), done.GetVersion())
		}
	}
}

// observeConflict lets the next cached read see what a write lost to.
func (c *caller) observeConflict(request proto.Message, failure *Error) {
	if request, ok := request.(interface{ GetNamespace() string }); ok && errors.Is(failure, ErrVersionConflict) {
		c.floors.observe(request.GetNamespace(), failure.Conflict.GetKey(), failure.Conflict.GetCurrentVersion())
	}
}

// chosen is the message that a message's only oneof holds; nil: none.
func chosen(message proto.Message) any {
	reflected := message.ProtoReflect()
	field := reflected.WhichOneof(reflected.Descriptor().Oneofs().Get(0))
	if field == nil || field.Message() == nil {
		return nil
	}
	return reflected.Get(field).Message().Interface()
}

// readOnly has the full names of the methods that say so in the protos.
var readOnly = func() map[string]bool {
	found := make(map[string]bool)
	files := []protoreflect.FileDescriptor{
		pb.File_statesidecar_v1_state_service_proto,
		pb.File_statesidecar_v1_outbox_service_proto,
		pb.File_statesidecar_v1_admin_service_proto,
	}
	for _, file := range files {
		for service := range file.Services().Len() {
			methods := file.Services().Get(service).Methods()
			for index := range methods.Len() {
				method := methods.Get(index)
				options, ok := method.Options().(*descriptorpb.MethodOptions)
				if ok && options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
					found["/"+string(method.Parent().FullName())+"/"+string(method.Name())] = true
				}
			}
		}
	}
	return found
}()
