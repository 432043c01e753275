{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.042253265317702134,"avg_event_concurrent_process_time":0.010563316329425533,"rank_eta":0.042253265317702134,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":[{"nan":null,"inf":null,"text":"naïve ✓ 🎉"}],"is_generating":false,"duration":0.0001552104949951172,"average_duration":0.0001552104949951172},"success":true}
