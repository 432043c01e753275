{"msg":"send_hash"}
{"msg":"estimation","rank":0,"queue_size":1,"avg_event_process_time":0.016572285008120847,"avg_event_concurrent_process_time":0.004143071252030212,"rank_eta":0.016572285008120847,"queue_eta":0.0}
{"msg":"send_data"}
{"msg":"process_starts"}
{"msg":"process_generating","output":{"data":["step 0",{"i":0,"seen":[],"flag":true}],"is_generating":true,"duration":0.0004189014434814453,"average_duration":0.0004189014434814453},"success":true}
{"msg":"process_generating","output":{"data":["step 1",{"i":1,"seen":[0],"flag":false}],"is_generating":true,"duration":8.988380432128906e-05,"average_duration":0.0002543926239013672},"success":true}
{"msg":"process_generating","output":{"data":["step 2",{"i":2,"seen":[0,1],"flag":true}],"is_generating":true,"duration":0.0003306865692138672,"average_duration":0.00027982393900553387},"success":true}
{"msg":"process_generating","output":{"data":["step 3",{"i":3,"seen":[0,1,2],"flag":false}],"is_generating":true,"duration":0.00028228759765625,"average_duration":0.0002804398536682129},"success":true}
{"msg":"process_completed","output":{"data":["step 3",{"i":3,"seen":[0,1,2],"flag":false}],"is_generating":true,"duration":0.00028228759765625,"average_duration":0.0002804398536682129},"success":true}
