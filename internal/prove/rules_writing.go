package main

var writing []Rule
