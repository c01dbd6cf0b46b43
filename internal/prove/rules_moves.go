package main

var moves []Rule
