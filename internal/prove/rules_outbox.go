package main

var outbox []Rule
