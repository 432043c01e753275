{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.017126704559845177,"avg_event_concurrent_process_time":0.004281676139961294,"rank_eta":0.017126704559845177,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_completed","output":{"data":["naïve ✓ 🎉\n\ttext \\ \"quoted\" end"],"is_generating":false,"duration":0.0003399848937988281,"average_duration":0.001590880136641245},"success":true}
