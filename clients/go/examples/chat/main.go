// Command chat keeps a conversation: each line of standard input is a turn, and each answer tells how many there were.
//
//	echo "hello" | go run ./examples/chat my-session
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"statesidecar.internal/statesidecar"
)

type turn struct {
	Role string `json:"role"`
	Text string `json:"text"`
}

type conversation struct {
	Turns []turn `json:"turns"`
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: chat SESSION")
	}
	client, err := statesidecar.New(statesidecar.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := say(context.Background(), client, os.Args[1], lines.Text())
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(answer)
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

// say adds what the user said and the answer to the session, whoever else writes to it meanwhile.
func say(ctx context.Context, client *statesidecar.Client, session, text string) (string, error) {
	var answer string
	_, err := statesidecar.Update(ctx, client, "session", session, func(s *statesidecar.Session[conversation]) error {
		answer = respond(s.State.Turns, text)
		s.State.Turns = append(s.State.Turns, turn{"user", text}, turn{"assistant", answer})
		return nil
	})
	return answer, err
}

// respond is where a model would be asked.
func respond(before []turn, text string) string {
	return fmt.Sprintf("%s (turn %d)", strings.ToUpper(text), len(before)/2+1)
}
