package main

var reading []Rule
